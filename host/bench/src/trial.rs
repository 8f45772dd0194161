//! A run from its first connection to its report.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::time::Instant;

use crate::backend::Backend;
use crate::collector::CollectorProcess;
use crate::error::BenchError;
use crate::faults;
use crate::limits::check;
use crate::load::{Generator, LoadPlan, Phase, PhaseResult};
use crate::measurements::{Measurements, Samples};
use crate::process::{Cpu, Memory};
use crate::report::Report;
use crate::settings::{CollectorUnderTest, CommandLine, LoadLength, Settings};
use crate::template::now_ns;

/// The progress of a run.
#[derive(Clone, Debug)]
pub struct Progress {
    /// The subject that is measured.
    pub subject: &'static str,
    /// The phase that the run is in.
    pub phase: &'static str,
    /// The time since the phase began.
    pub elapsed: Duration,
    /// Items accepted in this phase.
    pub accepted: u64,
    /// Items that arrived at the backend in this phase.
    pub arrived: u64,
    /// CPU time of the collector in this phase.
    pub cpu: Option<Duration>,
    /// Resident bytes of the collector.
    pub memory: Option<u64>,
}

/// A callback that is called every second or so.
pub type ProgressCallback<'a> = &'a mut (dyn FnMut(&Progress) + Send);

/// The time without an arrival after which missing items are not expected any more, unless the
/// collector is stopped.
const NO_ARRIVAL: Duration = Duration::from_secs(2);
/// The time after which idle memory is read: a collector that was just started still has things to
/// do.
const IDLE_AFTER: Duration = Duration::from_millis(300);

/// Makes one run, and one more through the yardstick if that is wanted.
///
/// # Errors
///
/// Returns an error if something cannot be started or is not there. Lost items are not an error;
/// the report has them.
pub async fn run(
    settings: &Settings,
    progress: ProgressCallback<'_>,
) -> Result<Report, BenchError> {
    check(settings)?;
    let listen = |kind| signal(kind).map_err(BenchError::Signals);
    let mut terminate = listen(SignalKind::terminate())?;
    let mut hang_up = listen(SignalKind::hangup())?;
    tokio::select! {
        report = trials(settings, progress) => report,
        _ = tokio::signal::ctrl_c() => Err(BenchError::Interrupted),
        _ = terminate.recv() => Err(BenchError::Interrupted),
        _ = hang_up.recv() => Err(BenchError::Interrupted),
    }
}

async fn trials(settings: &Settings, progress: ProgressCallback<'_>) -> Result<Report, BenchError> {
    let collector = trial(settings, "collector", progress).await?;
    let mut report = Report::new(settings, &collector);
    if let Some(program) = &settings.yardstick {
        let yardstick = yardstick(settings, program);
        let proxy = trial(&yardstick, "yardstick", progress).await?;
        report.compare(&Report::new(&yardstick, &proxy));
    }
    Ok(report)
}

/// Returns the settings for the same load through the proxy. It gets a backend of its own, because
/// the collector's exporter may still try the collector's backend.
fn yardstick(settings: &Settings, program: &CommandLine) -> Settings {
    let any = |address: SocketAddr| free_port(address.ip()).unwrap_or(address);
    let (endpoint, backend) = (any(settings.endpoint), any(settings.backend));
    let mut program = program.clone();
    let listen = format!("--listen={endpoint}");
    let to = format!("--to={backend}");
    program.arguments.extend([listen.into(), to.into()]);
    Settings {
        subject: CollectorUnderTest::Started(program),
        endpoint,
        backend,
        yardstick: None,
        ..settings.clone()
    }
}

fn free_port(host: std::net::IpAddr) -> Option<SocketAddr> {
    std::net::TcpListener::bind((host, 0))
        .ok()?
        .local_addr()
        .ok()
}

/// The collector under test, while it runs.
struct Collector {
    started: Option<CollectorProcess>,
    pid: Option<u32>,
    idle: Option<Memory>,
}

impl Collector {
    async fn open(settings: &Settings) -> Result<Self, BenchError> {
        let started = match &settings.subject {
            CollectorUnderTest::Started(line) => {
                let signal = settings.load.signal;
                let started =
                    CollectorProcess::start(line, settings.endpoint, signal, settings.timeout);
                Some(started.await?)
            }
            CollectorUnderTest::Running(_) | CollectorUnderTest::Unknown => None,
        };
        let pid = match &settings.subject {
            CollectorUnderTest::Running(pid) => Some(*pid),
            CollectorUnderTest::Started(_) | CollectorUnderTest::Unknown => {
                started.as_ref().map(CollectorProcess::pid)
            }
        };
        if started.is_some() {
            tokio::time::sleep(IDLE_AFTER).await;
        }
        if let CollectorUnderTest::Running(pid) = settings.subject
            && Cpu::of(pid).is_none()
        {
            return Err(BenchError::NoProcess { pid });
        }
        let idle = pid.and_then(Memory::of);
        if let Some(pid) = pid {
            Memory::reset_peak(pid);
        }
        Ok(Self { started, pid, idle })
    }
}

async fn trial(
    settings: &Settings,
    subject: &'static str,
    progress: ProgressCallback<'_>,
) -> Result<Measurements, BenchError> {
    let run = run_number();
    let plan = Arc::new(LoadPlan::new(&settings.load, run, settings.timeout)?);
    let backend = Backend::start(settings.backend, settings.windows, run, plan.batch())?;
    let collector = Collector::open(settings).await?;
    let faults_before = failed_calls(collector.pid, settings).await;
    let generator = Generator::start(Arc::clone(&plan), settings.endpoint).await?;
    let mut bed = TestBed {
        settings,
        subject,
        plan,
        backend,
        generator,
        pid: collector.pid,
    };
    let (sent, samples) = match bed.phases(progress).await {
        Ok(measured) => measured,
        Err(source) => return Err(broken_off(source, collector.started.as_ref())),
    };
    let peak = collector.pid.and_then(Memory::of);
    let faults = failed_calls(collector.pid, settings).await;
    let TestBed {
        plan,
        backend,
        generator,
        ..
    } = bed;
    generator.stop();
    let (mut ready_after, mut exit) = (None, None);
    if let Some(started) = collector.started {
        ready_after = Some(started.ready_after);
        exit = Some(started.stop(settings.timeout.max(STOP_WITHIN)).await);
    }
    Ok(Measurements {
        plan,
        load: sent,
        samples,
        count: backend.stop(),
        idle: collector.idle,
        peak,
        ready_after,
        faults: faults.map(|faults| faults.saturating_sub(faults_before.unwrap_or(0))),
        exit,
    })
}

/// Returns how often plugins have failed so far, if the collector is known and says it.
async fn failed_calls(pid: Option<u32>, settings: &Settings) -> Option<u64> {
    faults::count(pid?, settings.endpoint).await
}

/// Adds the collector's output to the error, if it is known.
fn broken_off(source: BenchError, started: Option<&CollectorProcess>) -> BenchError {
    let Some(started) = started else {
        return source;
    };
    BenchError::BrokenOff {
        output: started.output(),
        source: Box::new(source),
    }
}

/// The least time that a collector has to stop: a drain may take as long as an orchestrator gives
/// it.
const STOP_WITHIN: Duration = Duration::from_secs(30);

/// Returns a number for a run. Runs that follow each other have different numbers, and none has
/// zero.
fn run_number() -> u16 {
    let [low, high, ..] = (now_ns() / 1_000_000).to_le_bytes();
    u16::from_le_bytes([low, high]).max(1)
}

/// The parts that one trial runs on.
struct TestBed<'a> {
    settings: &'a Settings,
    subject: &'static str,
    plan: Arc<LoadPlan>,
    backend: Backend,
    generator: Generator,
    pid: Option<u32>,
}

impl TestBed<'_> {
    /// Runs the warm-up, then the measured part.
    async fn phases(
        &mut self,
        progress: ProgressCallback<'_>,
    ) -> Result<(PhaseResult, Samples), BenchError> {
        let load = &self.settings.load;
        let (warm_up, amount) = (load.warm_up, load.amount);
        self.phase("warm-up", true, warm_up, progress).await?;
        self.phase("measuring", false, amount, progress).await
    }

    /// Sends one part of the load, and waits until it has arrived.
    async fn phase(
        &mut self,
        name: &'static str,
        is_warm_up: bool,
        amount: LoadLength,
        progress: ProgressCallback<'_>,
    ) -> Result<(PhaseResult, Samples), BenchError> {
        let mut samples = Samples::begin(self.pid, &self.backend).await?;
        let accepted_before = self.plan.accepted.load(Ordering::Relaxed);
        let arrived_before = self.backend.count().arrived;
        let began = Instant::now();
        let sending = self.generator.phase(Phase { is_warm_up, amount });
        tokio::pin!(sending);
        let mut every = tokio::time::interval_at(began + REPORT_EVERY, REPORT_EVERY);
        let sent = loop {
            tokio::select! {
                sent = &mut sending => break sent?,
                _ = every.tick() => progress(&Progress {
                    subject: self.subject,
                    phase: name,
                    elapsed: began.elapsed(),
                    accepted: self.plan.accepted.load(Ordering::Relaxed) - accepted_before,
                    arrived: self.backend.count().arrived - arrived_before,
                    cpu: samples.collector_until_now(self.pid),
                    memory: self.pid.and_then(Memory::of).map(|memory| memory.now),
                }),
            }
        };
        self.settle(&sent, is_warm_up, &mut samples).await?;
        Ok((sent, samples))
    }

    /// Waits until all accepted items have arrived, or nothing comes any more.
    async fn settle(
        &self,
        sent: &PhaseResult,
        is_warm_up: bool,
        samples: &mut Samples,
    ) -> Result<(), BenchError> {
        let expected = sent.answers.accepted_tally.plain;
        let began = Instant::now();
        let mut last_arrival = Instant::now();
        let mut arrived = None;
        loop {
            let (now_arrived, plain) = {
                let count = self.backend.count();
                let warm_up = count.plain.saturating_sub(count.measured_plain);
                (
                    count.arrived,
                    if is_warm_up {
                        warm_up
                    } else {
                        count.measured_plain
                    },
                )
            };
            if arrived != Some(now_arrived) {
                arrived = Some(now_arrived);
                last_arrival = Instant::now();
                samples.end(self.pid, &self.backend).await?;
            }
            samples.plain = plain;
            let waited_long = last_arrival.elapsed() >= NO_ARRIVAL.min(self.settings.timeout);
            if plain >= expected || waited_long || began.elapsed() >= self.settings.timeout {
                return Ok(());
            }
            tokio::time::sleep(POLL_EVERY).await;
        }
    }
}

const REPORT_EVERY: Duration = Duration::from_secs(1);
/// The interval between two checks for the last items: the end of the measured time is exact to
/// this.
const POLL_EVERY: Duration = Duration::from_millis(5);
