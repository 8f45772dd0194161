//! Compilation of plugins: on threads of their own, one plugin at a time, within a time limit.
//!
//! The data path has its own threads and shares none with the compiler. Wasmtime compiles the
//! functions of a plugin in parallel on the thread pool that calls it. That pool is made here for
//! one plugin and ends with it, because a thread whose priority was lowered cannot raise it again.
//!
//! The daemon compiles in a process of its own ([`child`] starts it and waits for it, [`confined`]
//! runs in it): wasmtime's promises about untrusted code do not cover the compiler, and a process
//! can be given limits and can be killed.

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
/// wants the same core, a background thread gets a tenth of it. At the lowest, 19, it would get 1.5
/// %, and with all cores taken a plugin of 260 KiB took up to 30 s.
#[cfg(target_os = "linux")]
const LOW: i32 = 10;

/// The limits on compiling a plugin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CompileLimits {
    /// The time to read and compile. 60 s: a plugin of 260 KiB takes half a second on one core, so
    /// this is enough for one with an interpreter inside, or in the background of a machine whose
    /// cores are all taken; and an operator who waits for a swap still waits for its answer.
    pub time: Duration,
    /// True if other work of the process goes first: compiles at a low priority, on half the cores.
    pub background: bool,
    /// The address space of the process that compiles. 2 GiB: it has 1.2 GiB before it begins (the
    /// program, and the memory that its allocator sets aside), and a plugin of 260 KiB is compiled
    /// within that; 14 MiB with nothing but two endless functions take more than 2 GiB.
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

/// The place where the compiler runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Compile {
    /// On threads of this process: for tests and benches. A compilation that does not end cannot be
    /// stopped, and its memory has no limit.
    #[default]
    InProcess,
    /// In a process of its own. This program starts it with these arguments, and it calls
    /// [`confined::main`].
    Child {
        /// The program.
        program: PathBuf,
        /// Its arguments.
        arguments: Vec<String>,
    },
}

/// The reason why there is no result.
#[derive(Debug)]
pub(crate) enum NotCompiled {
    /// Another plugin is past its time and still being compiled.
    Busy,
    /// The work is past its time. Nothing can stop it, so it runs on, and keeps its turn.
    Late,
    /// The compiler panicked: a defect in it, but not a reason to stop the collector.
    Panicked,
    /// No threads could be started.
    Threads(ThreadPoolBuildError),
}

/// Compiles one plugin at a time. So at most one compilation that does not end runs in this
/// process, and at most one child uses memory at a time.
pub(crate) struct Compiler {
    turn: Arc<Semaphore>,
    /// The time when the work that has its turn should be done.
    due: Arc<Mutex<Option<Instant>>>,
}

impl fmt::Debug for Compiler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Compiler").finish_non_exhaustive()
    }
}

/// One plugin's turn with the compiler. The work holds it, not the caller who waits for the work:
/// it ends when the work does.
#[derive(Debug)]
pub(crate) struct Turn {
    _permit: OwnedSemaphorePermit,
    shared: Arc<Mutex<Option<Instant>>>,
    /// The time when the work should be done.
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

    /// Waits for the turn before this one, at most until that is due; this one's time begins then.
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
/// waiting does not stop the work.
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
        // A caller that gave up does not want the result.
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

/// Returns the number of threads for the compiler.
fn thread_count(background: bool) -> usize {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    // Low priority alone does not leave a share of a CPU time quota (of a container) to the data
    // path.
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
        // Without a handler a panic ends the process. The sender of the result is dropped by then,
        // which tells the receiver.
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
        // A collector that already runs at a lower priority stays there.
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
