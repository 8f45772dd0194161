//! A collector that the bench starts, waits for, and stops.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::os::unix::process::ExitStatusExt as _;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rustix::process::{Pid, Signal as UnixSignal, kill_process, kill_process_group};
use spandrel_wire::Signal;
use tokio::io::{AsyncBufReadExt as _, AsyncRead, BufReader};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::error::BenchError;
use crate::load::answers_empty;
use crate::settings::CommandLine;

/// The number of lines of its output that are kept, to be shown when something is wrong.
const KEPT_LINES: usize = 20;
/// The interval between two checks whether it is ready. Start-to-ready is exact to this.
const POLL_EVERY: Duration = Duration::from_millis(1);

type Lines = Arc<Mutex<VecDeque<String>>>;

/// A collector that runs as a child.
#[derive(Debug)]
pub(crate) struct CollectorProcess {
    name: String,
    child: Child,
    pid: u32,
    lines: Lines,
    /// The tasks that read its output; they end with it.
    readers: JoinSet<()>,
    pub(crate) ready_after: Duration,
}

/// The end of a collector that the bench started.
#[derive(Clone, Debug)]
pub(crate) struct CollectorExit {
    pub(crate) status: String,
    pub(crate) code: Option<i32>,
    pub(crate) took: Duration,
    /// True if it ended with 0, or by SIGTERM because it does not handle that signal.
    pub(crate) is_clean: bool,
    /// The last lines of its output.
    pub(crate) output: String,
}

impl CollectorProcess {
    /// Starts a collector, and waits until it answers an export.
    pub(crate) async fn start(
        line: &CommandLine,
        endpoint: SocketAddr,
        signal: Signal,
        timeout: Duration,
    ) -> Result<Self, BenchError> {
        if TcpStream::connect(endpoint).await.is_ok() {
            return Err(BenchError::EndpointTaken { endpoint });
        }
        let name = line.program.display().to_string();
        let began = Instant::now();
        let mut child = Command::new(&line.program)
            .args(&line.arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // Ctrl-C is for the bench, which then stops it.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .map_err(|source| BenchError::Start {
                program: name.clone(),
                source,
            })?;
        let lines = Lines::default();
        let mut readers = JoinSet::new();
        if let Some(stdout) = child.stdout.take() {
            readers.spawn(keep_lines(stdout, Arc::clone(&lines)));
        }
        if let Some(stderr) = child.stderr.take() {
            readers.spawn(keep_lines(stderr, Arc::clone(&lines)));
        }
        let pid = child.id().unwrap_or(0);
        let mut started = Self {
            name,
            child,
            pid,
            lines,
            readers,
            ready_after: Duration::ZERO,
        };
        started.wait_until_ready(endpoint, signal, timeout).await?;
        started.ready_after = began.elapsed();
        Ok(started)
    }

    async fn wait_until_ready(
        &mut self,
        endpoint: SocketAddr,
        signal: Signal,
        timeout: Duration,
    ) -> Result<(), BenchError> {
        let ready = async {
            while !answers_empty(endpoint, signal).await {
                tokio::time::sleep(POLL_EVERY).await;
            }
        };
        let ended = tokio::select! {
            looked = tokio::time::timeout(timeout, ready) => match looked {
                Ok(()) => return Ok(()),
                Err(_) => None,
            },
            ended = self.child.wait() => Some(ended),
        };
        let program = self.name.clone();
        let Some(ended) = ended else {
            let output = self.output();
            return Err(BenchError::NotReady {
                program,
                endpoint,
                timeout,
                output,
            });
        };
        self.read_to_end().await;
        let status = ended.map_or_else(|error| error.to_string(), |status| status.to_string());
        let output = self.output();
        Err(BenchError::Ended {
            program,
            status,
            endpoint,
            output,
        })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.pid
    }

    /// Returns the last lines of its output.
    pub(crate) fn output(&self) -> String {
        let lines = self.lines.lock();
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        lines.join("\n")
    }

    /// Sends SIGTERM, and SIGKILL when it takes too long.
    pub(crate) async fn stop(mut self, timeout: Duration) -> CollectorExit {
        let began = Instant::now();
        let pid = i32::try_from(self.pid).ok().and_then(Pid::from_raw);
        if let Some(pid) = pid {
            // It may have ended by itself; then its status says so.
            kill_process(pid, UnixSignal::TERM).unwrap_or_default();
        }
        let ended = tokio::time::timeout(timeout, self.child.wait()).await;
        let took = began.elapsed();
        self.read_to_end().await;
        let mut exit = CollectorExit {
            status: format!("killed: it did not end within {timeout:?} of SIGTERM"),
            code: None,
            took,
            is_clean: false,
            output: self.output(),
        };
        match ended {
            Ok(Ok(status)) => {
                exit.status = status.to_string();
                exit.code = status.code();
                exit.is_clean =
                    status.success() || status.signal() == Some(UnixSignal::TERM.as_raw());
            }
            Ok(Err(error)) => exit.status = error.to_string(),
            Err(_) => {}
        }
        exit
    }

    /// Reads the output to its end, which comes when stdout and stderr are closed. Waits for a
    /// second at most, because a grandchild may keep them open.
    async fn read_to_end(&mut self) {
        let all = async { while self.readers.join_next().await.is_some() {} };
        tokio::time::timeout(Duration::from_secs(1), all)
            .await
            .unwrap_or_default();
    }
}

impl Drop for CollectorProcess {
    /// Kills the process if it still runs, and all that it started and left behind: a run may be
    /// broken off.
    fn drop(&mut self) {
        if let Some(group) = i32::try_from(self.pid).ok().and_then(Pid::from_raw) {
            // Mostly no process is left.
            kill_process_group(group, UnixSignal::KILL).unwrap_or_default();
        }
    }
}

async fn keep_lines(output: impl AsyncRead + Unpin, lines: Lines) {
    let mut output = BufReader::new(output).lines();
    while let Ok(Some(line)) = output.next_line().await {
        let mut lines = lines.lock();
        if lines.len() == KEPT_LINES {
            lines.pop_front();
        }
        lines.push_back(line);
    }
}
