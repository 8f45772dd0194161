//! Where plugins are compiled: on threads of their own, one plugin at a time, within a time.
//!
//! The data path has its own threads and shares none with the compiler. Wasmtime compiles the
//! functions of a plugin in parallel on the pool of threads that it is called from; that pool is
//! made here for one plugin and ends with it, because a thread whose priority was lowered cannot
//! raise it again.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rayon::{ThreadPoolBuildError, ThreadPoolBuilder};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::{Instant, timeout, timeout_at};

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
}

impl Default for CompileLimits {
    fn default() -> Self {
        Self {
            time: Duration::from_secs(60),
            background: false,
        }
    }
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

/// Compiles one plugin at a time. So at most one that does not end is ever running.
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
struct Turn {
    _permit: OwnedSemaphorePermit,
    due: Arc<Mutex<Option<Instant>>>,
}

impl Turn {
    fn new(permit: OwnedSemaphorePermit, due: Arc<Mutex<Option<Instant>>>, at: Instant) -> Self {
        set(&due, Some(at));
        Self {
            _permit: permit,
            due,
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        set(&self.due, None);
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

    /// Runs `work` on threads made for it, and waits for it. A caller that stops waiting does not
    /// stop it.
    pub(crate) async fn run<T, F>(&self, limits: CompileLimits, work: F) -> Result<T, NotCompiled>
    where
        T: Send + 'static,
        F: FnOnce() -> T + Send + 'static,
    {
        let permit = self.wait(limits.time).await?;
        let due = Instant::now() + limits.time;
        let turn = Turn::new(permit, Arc::clone(&self.due), due);
        let threads = threads(limits.background).map_err(NotCompiled::Threads)?;
        let (done, result) = oneshot::channel();
        threads.spawn(move || {
            let _turn = turn;
            // A caller that gave up does not want it.
            drop(done.send(work()));
        });
        // The pool ends once its work is done.
        drop(threads);
        match timeout(limits.time, result).await {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(_)) => Err(NotCompiled::Panicked),
            Err(_) => Err(NotCompiled::Late),
        }
    }

    /// Waits for the one before, for as long as that may take.
    async fn wait(&self, longest: Duration) -> Result<OwnedSemaphorePermit, NotCompiled> {
        let due = *self.due.lock().unwrap_or_else(PoisonError::into_inner);
        let due = due.unwrap_or_else(|| Instant::now() + longest);
        let turn = timeout_at(due, Arc::clone(&self.turn).acquire_owned()).await;
        turn.ok().and_then(Result::ok).ok_or(NotCompiled::Busy)
    }
}

fn threads(background: bool) -> Result<rayon::ThreadPool, ThreadPoolBuildError> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    // Low priority alone does not leave a quota of CPU time (of a container) to the data path.
    let count = if background {
        (cores / 2).max(1)
    } else {
        cores
    };
    ThreadPoolBuilder::new()
        .num_threads(count)
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
