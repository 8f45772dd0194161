//! The real program, run as a process with a config of the test.

mod setup;

use std::collections::BTreeMap;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;

use anyhow::{Context as _, Result, anyhow, bail};
use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt as _, AsyncRead, BufReader};
use tokio::process::Child;
use tokio::task::JoinSet;

use crate::admin::Admin;
use crate::cache::Cache;
use crate::ledger::Ledger;
use crate::log::{Line, Log};
use crate::metrics::{self, Metrics};
use crate::until::soon;
pub use setup::Setup;

/// The log line that operators wait for, as the OpenTelemetry Collector prints it.
pub const READY: &str = "Everything is ready. Begin running and processing data.";

/// A running collector. It is killed when it is dropped.
#[derive(Debug)]
pub struct Collector {
    child: Child,
    pid: Pid,
    log: Arc<Log>,
    readers: JoinSet<()>,
    /// The folder with the config and the plugins' state; removed with the collector.
    _folder: Arc<tempfile::TempDir>,
    _cache: Arc<Cache>,
}

/// A collector that ended.
#[derive(Debug)]
pub struct Ended {
    /// The exit status.
    pub status: ExitStatus,
    /// The whole log.
    pub log: Arc<Log>,
}

impl Collector {
    /// Starts it and waits until it is ready.
    ///
    /// # Errors
    /// Returns an error if it does not become ready; the message shows its log.
    pub async fn start(setup: &Setup) -> Result<Self> {
        let collector = Self::spawn(setup)?;
        collector.wait_for_message(READY).await?;
        Ok(collector)
    }

    /// Starts it without waiting for anything.
    ///
    /// # Errors
    /// Returns an error if the binary cannot be built or run.
    pub fn spawn(setup: &Setup) -> Result<Self> {
        let mut child = setup
            .command(crate::artifacts::collector()?)
            .args(setup.arguments())
            .envs(setup.environment())
            .current_dir(setup.folder())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .context("cannot run the collector")?;
        let pid = child
            .id()
            .and_then(|id| i32::try_from(id).ok())
            .and_then(Pid::from_raw)
            .context("the collector has no process id")?;
        let log = Arc::new(Log::default());
        let mut readers = JoinSet::new();
        if let Some(out) = child.stdout.take() {
            readers.spawn(read(out, log.clone()));
        }
        if let Some(err) = child.stderr.take() {
            readers.spawn(read(err, log.clone()));
        }
        Ok(Self {
            child,
            pid,
            log,
            readers,
            _folder: setup.folder.clone(),
            _cache: setup.cache.clone(),
        })
    }

    /// Returns its process id.
    pub fn id(&self) -> u32 {
        self.pid.as_raw_nonzero().get().unsigned_abs()
    }

    /// Returns its log.
    pub fn log(&self) -> &Arc<Log> {
        &self.log
    }

    /// Waits for a line of its log.
    ///
    /// # Errors
    /// Returns an error if it ends or the time is over before; the message shows its log.
    pub async fn wait_for(&self, what: &str, wanted: impl Fn(&Line) -> bool) -> Result<Line> {
        let mut changes = self.log.changes();
        let search = async {
            loop {
                if let Some(line) = self.log.find(&wanted) {
                    return Some(line);
                }
                // Both readers have ended: nothing more will be written.
                if self.log.is_closed() || changes.changed().await.is_err() {
                    return self.log.find(&wanted);
                }
            }
        };
        let found = soon(what, search).await;
        match found {
            Ok(Some(line)) => Ok(line),
            Ok(None) => Err(anyhow!("the collector ended before {what}")),
            Err(error) => Err(error),
        }
        .with_context(|| format!("the collector's log:\n{}", self.log.tail()))
    }

    /// Waits for a line with this message.
    ///
    /// # Errors
    /// Returns the errors of [`Self::wait_for`].
    pub async fn wait_for_message(&self, message: &str) -> Result<Line> {
        let what = format!("the line {message:?}");
        self.wait_for(&what, |line| line.message() == message).await
    }

    /// Returns the addresses that it listens on, by the name of the component (`otlp`, `otlp http`,
    /// `health_check`, `admin`, `metrics`).
    pub fn addresses(&self) -> BTreeMap<String, String> {
        let lines = self.log.lines();
        let bound = lines.iter().filter_map(|line| {
            let endpoint = line.text("endpoint")?;
            let component = ["receiver", "extension", "component"]
                .iter()
                .find_map(|name| line.text(name))
                .unwrap_or("metrics");
            let component = match line.text("transport") {
                Some("http") => format!("{component} http"),
                _ => component.to_owned(),
            };
            line.message()
                .contains("listening")
                .then(|| (component, endpoint.to_owned()))
        });
        bound.collect()
    }

    /// Returns one of the [`Self::addresses`].
    ///
    /// # Errors
    /// Returns an error if it does not listen for this component.
    pub fn address(&self, component: &str) -> Result<String> {
        let addresses = self.addresses();
        addresses.get(component).cloned().with_context(|| {
            let log = self.log.tail();
            format!("nothing listens for {component:?}, only {addresses:?}; the log:\n{log}")
        })
    }

    /// Returns its current metrics.
    ///
    /// # Errors
    /// Returns an error if it serves none.
    pub async fn metrics(&self) -> Result<Metrics> {
        let (status, body) = metrics::get(&self.address("metrics")?, "/metrics").await?;
        anyhow::ensure!(status == 200, "/metrics answered {status}");
        Ok(Metrics::parse(&body))
    }

    /// Returns a client of its admin API.
    ///
    /// # Errors
    /// Returns an error if it has none.
    pub fn admin(&self) -> Result<Admin> {
        Admin::new(&self.address("admin")?)
    }

    /// Returns its current resident memory in KiB, as Linux reports it.
    ///
    /// # Errors
    /// Returns an error if the system does not report it.
    pub fn memory_kib(&self) -> Result<u64> {
        let pid = self.pid.as_raw_nonzero();
        let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.and_then(|line| line.split_whitespace().next());
        Ok(kib.context("no VmRSS")?.parse()?)
    }

    /// Asks it to stop, as Kubernetes does.
    ///
    /// # Errors
    /// Returns an error if it is gone already.
    pub fn sigterm(&self) -> Result<()> {
        kill_process(self.pid, Signal::TERM).context("cannot signal the collector")
    }

    /// Asks it to read its configuration again.
    ///
    /// # Errors
    /// Returns an error if it is gone already.
    pub fn hang_up(&self) -> Result<()> {
        kill_process(self.pid, Signal::HUP).context("cannot signal the collector")
    }

    /// Waits until it has ended and its log is complete.
    ///
    /// # Errors
    /// Returns an error if it does not end in time.
    pub async fn wait(mut self) -> Result<Ended> {
        let ended = soon("the collector's end", self.child.wait()).await;
        let status = ended
            .with_context(|| format!("the collector's log:\n{}", self.log.tail()))?
            .context("cannot wait for the collector")?;
        soon("the end of the collector's log", async {
            while self.readers.join_next().await.is_some() {}
        })
        .await?;
        Ok(Ended {
            status,
            log: self.log,
        })
    }

    /// Asks it to stop, and waits until it has ended.
    ///
    /// # Errors
    /// Returns an error if it does not end in time.
    pub async fn stop(self) -> Result<Ended> {
        self.sigterm()?;
        self.wait().await
    }

    /// Kills it at once, like a machine that fails.
    ///
    /// # Errors
    /// Returns an error if it does not end in time.
    pub async fn kill(mut self) -> Result<Ended> {
        self.child.start_kill()?;
        self.wait().await
    }
}

impl Ended {
    /// Returns its exit code.
    ///
    /// # Errors
    /// Returns an error if a signal ended it.
    pub fn code(&self) -> Result<i32> {
        match self.status.code() {
            Some(code) => Ok(code),
            None => bail!("{}; the log:\n{}", self.status, self.log.tail()),
        }
    }

    /// Checks that it exited with this code.
    ///
    /// # Errors
    /// Returns an error if it did not; the message shows its log.
    pub fn expect_code(&self, expected: i32) -> Result<()> {
        let code = self.code()?;
        let log = self.log.tail();
        anyhow::ensure!(
            code == expected,
            "exit code {code} instead of {expected}; the log:\n{log}"
        );
        Ok(())
    }

    /// Returns the ledger of one pipeline: the one of the exporter `otlp_grpc`, or else the only
    /// one.
    ///
    /// # Errors
    /// Returns an error if it printed none.
    pub fn ledger(&self, pipeline: &str) -> Result<Ledger> {
        self.ledger_of(pipeline, "otlp_grpc")
            .or_else(|_| self.find_ledger(pipeline, |_| true))
    }

    /// Returns the ledger of one pipeline for one of its exporters.
    ///
    /// # Errors
    /// Returns an error if it printed none.
    pub fn ledger_of(&self, pipeline: &str, exporter: &str) -> Result<Ledger> {
        self.find_ledger(pipeline, |line| line.text("exporter") == Some(exporter))
    }

    fn find_ledger(&self, pipeline: &str, wanted: impl Fn(&Line) -> bool) -> Result<Ledger> {
        let lines = self.log.lines();
        lines
            .iter()
            .rev()
            .filter(|line| line.text("pipeline") == Some(pipeline) && wanted(line))
            .find_map(Ledger::read)
            .with_context(|| format!("no ledger of {pipeline:?}; the log:\n{}", self.log.tail()))
    }
}

async fn read(from: impl AsyncRead + Unpin, log: Arc<Log>) {
    let mut lines = BufReader::new(from).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        log.push(line);
    }
    log.close_one();
}
