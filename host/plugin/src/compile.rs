//! Where plugins are compiled: on threads of their own, one plugin at a time, within a time.
//!
//! The data path has its own threads and shares none with the compiler. Wasmtime compiles the
//! functions of a plugin in parallel on the pool of threads that it is called from; that pool is
//! made here for one plugin and ends with it, because a thread whose priority was lowered cannot
//! raise it again.
//!
//! The daemon compiles in a process of its own ([`child`] starts it and waits for it, [`confined`]
//! is what runs in it): the compiler is outside of what wasmtime promises of untrusted code, and a
//! process can be given limits and be ended.

pub mod child;
pub mod confined;
mod frame;

use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rayon::{ThreadPoolBuildError, ThreadPoolBuilder};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::{Instant, timeout_at};

/// The priority of background work (`man 2 setpriority`): against a thread of the data path that
/// wants the same core, one of these gets a tenth of it. At the lowest, 19, it would get 1.5 %, and
/// with all cores taken a plugin of 260 KiB took up to 30 s.
#[cfg(target_os = "linux")]
const LOW: i32 = 10;

/// How a plugin may be compiled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CompileLimits {
    /// Time to read and compile. 60 s: a plugin of 260 KiB takes half a second on one core, so this
    /// is room for one with an interpreter inside, or in the background of a machine whose cores are
    /// all taken; and an operator who waits for a swap still waits for its answer.
    pub time: Duration,
    /// Whether other work of the process goes first: at a low priority, on half the cores.
    pub background: bool,
    /// Address space of the process that compiles. 2 GiB: it has 1.2 GiB before it begins (the
    /// program, and what its allocator sets aside), and a plugin of 260 KiB is compiled within that;
    /// 14 MiB of nothing but two endless functions take more than this.
    pub memory_bytes: u64,
}

impl Default for CompileLimits {
    fn default() -> Self {
        Self {
            time: Duration::from_secs(60),
            background: false,
            memory_bytes: 2 << 30,
        }
    }
}

/// Where the compiler runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Compile {
    /// On threads of this process: for tests and benches. A compile that does not end cannot be
    /// stopped, and memory has no limit.
    #[default]
    InProcess,
    /// In a process of its own, which this program starts with these arguments, and which calls
    /// [`confined::main`].
    Child {
        /// The program.
        program: PathBuf,
        /// Its arguments.
        arguments: Vec<String>,
    },
}

/// Why there is no result.
#[derive(Debug)]
pub(crate) enum NotCompiled {
    /// Another plugin is past its time and still being compiled.
    Busy,
    /// It is past its time. Nothing can stop it, so it runs on, and holds its turn.
    Late,
    /// The compiler panicked: a defect of it, but no reason to stop the collector.
    Panicked,
    /// There are no threads.
    Threads(ThreadPoolBuildError),
}

/// Compiles one plugin at a time. So at most one that does not end is ever running in this process,
/// and what a child takes is taken once.
pub(crate) struct Compiler {
    turn: Arc<Semaphore>,
    /// When the one that has its turn should be done.
    due: Arc<Mutex<Option<Instant>>>,
}

impl fmt::Debug for Compiler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Compiler").finish_non_exhaustive()
    }
}

/// Held by the work, not by who waits for it: it ends when the work does.
#[derive(Debug)]
pub(crate) struct Turn {
    _permit: OwnedSemaphorePermit,
    shared: Arc<Mutex<Option<Instant>>>,
    /// When the work should be done.
    due: Instant,
}

impl Turn {
    fn new(
        permit: OwnedSemaphorePermit,
        shared: Arc<Mutex<Option<Instant>>>,
        due: Instant,
    ) -> Self {
        set(&shared, Some(due));
        Self {
            _permit: permit,
            shared,
            due,
        }
    }

    pub(crate) fn due(&self) -> Instant {
        self.due
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        set(&self.shared, None);
    }
}

fn set(due: &Mutex<Option<Instant>>, at: Option<Instant>) {
    *due.lock().unwrap_or_else(PoisonError::into_inner) = at;
}

impl Compiler {
    pub(crate) fn new() -> Self {
        Self {
            turn: Arc::new(Semaphore::new(1)),
            due: Arc::default(),
        }
    }

    /// Waits for the one before, for as long as that may take; the time begins then.
    pub(crate) async fn turn(&self, limits: CompileLimits) -> Result<Arc<Turn>, NotCompiled> {
        let due = *self.due.lock().unwrap_or_else(PoisonError::into_inner);
        let due = due.unwrap_or_else(|| Instant::now() + limits.time);
        let permit = timeout_at(due, Arc::clone(&self.turn).acquire_owned()).await;
        let permit = permit.ok().and_then(Result::ok);
        let permit = permit.ok_or(NotCompiled::Busy)?;
        let due = Instant::now() + limits.time;
        Ok(Arc::new(Turn::new(permit, Arc::clone(&self.due), due)))
    }
}

/// Runs `work` on threads made for it, and waits for it until its turn is over. A caller that stops
/// waiting does not stop it.
pub(crate) async fn run<T, F>(turn: &Arc<Turn>, background: bool, work: F) -> Result<T, NotCompiled>
where
    T: Send + 'static,
    F: FnOnce() -> T + Send + 'static,
{
    let due = turn.due();
    let turn = Arc::clone(turn);
    let threads = threads(background).map_err(NotCompiled::Threads)?;
    let (done, result) = oneshot::channel();
    threads.spawn(move || {
        let _turn = turn;
        // A caller that gave up does not want it.
        drop(done.send(work()));
    });
    // The pool ends once its work is done.
    drop(threads);
    match timeout_at(due, result).await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(_)) => Err(NotCompiled::Panicked),
        Err(_) => Err(NotCompiled::Late),
    }
}

/// Threads for the compiler.
fn thread_count(background: bool) -> usize {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    // Low priority alone does not leave a quota of CPU time (of a container) to the data path.
    if background {
        (cores / 2).max(1)
    } else {
        cores
    }
}

fn threads(background: bool) -> Result<rayon::ThreadPool, ThreadPoolBuildError> {
    ThreadPoolBuilder::new()
        .num_threads(thread_count(background))
        .thread_name(|number| format!("compile-{number}"))
        // Without a handler a panic ends the process. The sender of the result is gone by then,
        // which says it.
        .panic_handler(|_| {})
        .start_handler(move |_| {
            if background {
                lower_priority();
            }
        })
        .build()
}

/// Lowers the priority of this thread.
fn lower_priority() {
    // Linux takes "the calling process" to mean the calling thread; elsewhere it is the process,
    // which must keep its priority.
    #[cfg(target_os = "linux")]
    {
        use rustix::process::{getpriority_process, setpriority_process};
        // A collector that runs at a lower one already stays there.
        let low = getpriority_process(None).map_or(LOW, |ours| ours.max(LOW));
        if let Err(error) = setpriority_process(None, low) {
            tracing::debug!(
                error = &error as &dyn std::error::Error,
                "compiling at normal priority"
            );
        }
    }
}

#[cfg(test)]
mod tests;
