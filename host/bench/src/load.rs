//! The generator: its own thread, which sends patched templates as fast as answers come, or at a
//! fixed rate.

mod connection;
mod lane;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use spandrel_wire::Signal;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::error::BenchError;
use crate::item_name::MAX_ITEMS;
use crate::process::thread_cpu;
use crate::settings::{Load, LoadLength};
use crate::template::{Template, now_ns};
use connection::Connection;
pub(crate) use lane::{AcceptedRequest, CallResults};

/// The number of different templates; each connection's requests go through all of them.
const TEMPLATES: usize = 16;
/// The number of items in a lane's templates, about. Lanes with small requests have several
/// templates, so that all of a load's variety is in each run.
const ITEMS_PER_LANE: usize = 512;
const MAX_PER_LANE: usize = 64;

/// The time in which a lane that waits until its request is due notices that the phase is over.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// One part of a run: the warm-up, or the measured part.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Phase {
    pub(crate) is_warm_up: bool,
    pub(crate) amount: LoadLength,
}

/// The result of a phase.
#[derive(Debug, Default)]
pub(crate) struct PhaseResult {
    pub(crate) answers: CallResults,
    pub(crate) elapsed: Duration,
    /// CPU time of the generator's thread.
    pub(crate) cpu: Duration,
}

/// The state that all lanes share.
#[derive(Debug)]
pub(crate) struct LoadPlan {
    pub(crate) load: Load,
    pub(crate) templates: Vec<Template>,
    pub(crate) run: u16,
    pub(crate) timeout: Duration,
    /// The number of the next request.
    next_request: AtomicU64,
    /// The number from which on requests do not belong to the phase.
    end_request: AtomicU64,
    /// The number of the phase's first request.
    first_request: AtomicU64,
    is_warm_up: AtomicBool,
    is_over: AtomicBool,
    /// The time when the phase began, in nanoseconds since 1970.
    began_ns: AtomicU64,
    /// The number of items that were answered with OK; `answered` counts all that were answered.
    pub(crate) accepted: AtomicU64,
    pub(crate) answered: AtomicU64,
}

/// A request that is due.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DueRequest {
    pub(crate) request: u64,
    pub(crate) is_warm_up: bool,
    /// The time when it should be sent, by the rate.
    pub(crate) due_ns: Option<u64>,
}

impl LoadPlan {
    /// Creates a plan and makes the templates.
    pub(crate) fn new(load: &Load, run: u16, timeout: Duration) -> Result<Self, BenchError> {
        let templates = (0..TEMPLATES).map(|index| Template::new(load, index));
        let templates: Option<Vec<Template>> = templates.collect();
        Ok(Self {
            load: load.clone(),
            templates: templates.ok_or_else(|| {
                BenchError::Load("the templates of the requests came out wrong".to_owned())
            })?,
            run,
            timeout,
            next_request: AtomicU64::new(0),
            end_request: AtomicU64::new(0),
            first_request: AtomicU64::new(0),
            is_warm_up: AtomicBool::new(false),
            is_over: AtomicBool::new(false),
            began_ns: AtomicU64::new(0),
            accepted: AtomicU64::new(0),
            answered: AtomicU64::new(0),
        })
    }

    pub(crate) fn batch(&self) -> u64 {
        u64::try_from(self.load.batch).unwrap_or(u64::MAX)
    }

    fn begin(&self, phase: Phase) {
        let first = self.next_request.load(Ordering::Relaxed);
        let most = (MAX_ITEMS / self.batch()).saturating_sub(first);
        let requests = match phase.amount {
            LoadLength::Items(items) => items.div_ceil(self.batch()).min(most),
            LoadLength::For(_) => most,
        };
        self.first_request.store(first, Ordering::Relaxed);
        self.end_request.store(first + requests, Ordering::Relaxed);
        self.is_warm_up.store(phase.is_warm_up, Ordering::Relaxed);
        self.is_over.store(false, Ordering::Relaxed);
        self.began_ns.store(now_ns(), Ordering::Relaxed);
    }

    /// Returns the next request of the phase; `None` when the phase is over.
    fn take_request(&self) -> Option<DueRequest> {
        if self.is_over.load(Ordering::Relaxed) {
            return None;
        }
        let request = self.next_request.load(Ordering::Relaxed);
        if request >= self.end_request.load(Ordering::Relaxed) {
            return None;
        }
        // All lanes are on one thread, so nobody came between.
        self.next_request.store(request + 1, Ordering::Relaxed);
        let nth = request - self.first_request.load(Ordering::Relaxed);
        let due_ns = self.load.rate.map(|rate| {
            let items = u128::from(nth * self.batch());
            let offset = items * 1_000_000_000 / u128::from(rate.max(1));
            let offset = u64::try_from(offset).unwrap_or(u64::MAX);
            self.began_ns.load(Ordering::Relaxed).saturating_add(offset)
        });
        Some(DueRequest {
            request,
            is_warm_up: self.is_warm_up.load(Ordering::Relaxed),
            due_ns,
        })
    }

    /// Waits until a request is due. Returns false if the phase ended meanwhile; then nothing is sent.
    async fn wait(&self, due_ns: u64) -> bool {
        loop {
            let early = Duration::from_nanos(due_ns.saturating_sub(now_ns()));
            if early.is_zero() {
                return true;
            }
            if self.is_over.load(Ordering::Relaxed) {
                return false;
            }
            tokio::time::sleep(early.min(LOOK_EVERY)).await;
        }
    }

    /// Returns the bytes of messages without their health checks, and the number of items in them.
    pub(crate) fn without_health_checks(&self) -> (u64, u64) {
        let (mut bytes, mut items) = (0, 0);
        for template in &self.templates {
            let kept = template.tally.plain + template.tally.duplicates;
            if kept > 0 {
                bytes += template.bytes_without_health_checks;
                items += kept;
            }
        }
        (bytes, items)
    }

    /// Returns the templates that a lane has.
    fn templates_of_lane(&self, lane: usize) -> Vec<usize> {
        let each = (ITEMS_PER_LANE / self.load.batch.max(1)).clamp(1, MAX_PER_LANE);
        let each = each.min(self.templates.len());
        (0..each)
            .map(|nth| (lane * each + nth) % self.templates.len())
            .collect()
    }
}

type Command = (Phase, oneshot::Sender<Result<PhaseResult, BenchError>>);

/// The running generator.
#[derive(Debug)]
pub(crate) struct Generator {
    commands: mpsc::Sender<Command>,
    thread: std::thread::JoinHandle<()>,
}

impl Generator {
    /// Starts the thread and connects.
    pub(crate) async fn start(
        plan: Arc<LoadPlan>,
        endpoint: SocketAddr,
    ) -> Result<Self, BenchError> {
        let (commands, inbox) = mpsc::channel(1);
        let (tell_ready, ready) = oneshot::channel();
        let thread = std::thread::Builder::new()
            .name("bench-load".to_owned())
            .spawn(move || run(&plan, endpoint, inbox, tell_ready))
            .map_err(BenchError::Thread)?;
        ready
            .await
            .map_err(|_| BenchError::ThreadEnded("generator"))??;
        Ok(Self { commands, thread })
    }

    /// Runs a phase to its end.
    pub(crate) async fn phase(&self, phase: Phase) -> Result<PhaseResult, BenchError> {
        let (answer, result) = oneshot::channel();
        let ended = |()| BenchError::ThreadEnded("generator");
        let command = (phase, answer);
        self.commands.send(command).await.map_err(|_| ended(()))?;
        result.await.map_err(|_| ended(()))?
    }

    /// Closes the connections.
    pub(crate) fn stop(self) {
        let Self { commands, thread } = self;
        drop(commands);
        // A panic of the thread was reported when a phase found it gone.
        thread.join().unwrap_or_default();
    }
}

fn run(
    plan: &Arc<LoadPlan>,
    endpoint: SocketAddr,
    inbox: mpsc::Receiver<Command>,
    tell_ready: oneshot::Sender<Result<(), BenchError>>,
) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    match runtime {
        Ok(runtime) => runtime.block_on(serve(plan, endpoint, inbox, tell_ready)),
        // The receiver is gone only if the run has ended.
        Err(error) => drop(tell_ready.send(Err(BenchError::Thread(error)))),
    }
}

async fn serve(
    plan: &Arc<LoadPlan>,
    endpoint: SocketAddr,
    mut inbox: mpsc::Receiver<Command>,
    tell_ready: oneshot::Sender<Result<(), BenchError>>,
) {
    let mut connections = Vec::new();
    for index in 0..plan.load.connections {
        match Connection::open(plan, endpoint, index).await {
            Ok(connection) => connections.push(connection),
            Err(error) => {
                drop(tell_ready.send(Err(error)));
                return;
            }
        }
    }
    drop(tell_ready.send(Ok(())));
    while let Some((phase, answer)) = inbox.recv().await {
        let result;
        (connections, result) = one_phase(plan, phase, connections).await;
        let failed = result.is_err();
        drop(answer.send(result));
        if failed {
            return;
        }
    }
}

async fn one_phase(
    plan: &Arc<LoadPlan>,
    phase: Phase,
    connections: Vec<Connection>,
) -> (Vec<Connection>, Result<PhaseResult, BenchError>) {
    plan.begin(phase);
    let began = Instant::now();
    let cpu_before = thread_cpu();
    let mut tasks = JoinSet::new();
    for connection in connections {
        tasks.spawn(connection.phase(Arc::clone(plan)));
    }
    if let LoadLength::For(time) = phase.amount {
        let plan = Arc::clone(plan);
        // This task ends by itself, or at the latest with the set.
        tasks.spawn(async move {
            tokio::time::sleep(time).await;
            plan.is_over.store(true, Ordering::Relaxed);
            None
        });
    }
    let mut connections = Vec::new();
    let mut sent = PhaseResult::default();
    let mut failure = None;
    while let Some(ended) = tasks.join_next().await {
        match ended {
            Ok(Some((connection, Ok(answers)))) => {
                connections.push(connection);
                sent.answers.merge(answers);
            }
            Ok(Some((_, Err(error)))) => {
                plan.is_over.store(true, Ordering::Relaxed);
                failure = Some(error);
            }
            Ok(None) => {}
            Err(_) => failure = Some(BenchError::ThreadEnded("generator")),
        }
        if connections.len() == plan.load.connections {
            break;
        }
    }
    sent.elapsed = began.elapsed();
    sent.cpu = thread_cpu().saturating_sub(cpu_before);
    (connections, failure.map_or(Ok(sent), Err))
}

/// Returns true if the peer answers an export of nothing with OK.
pub(crate) async fn answers_empty(endpoint: SocketAddr, signal: Signal) -> bool {
    let Ok((requests, _driver)) = connection::connect(endpoint).await else {
        return false;
    };
    lane::export_nothing(requests, signal).await
}
