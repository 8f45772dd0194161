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
use std::sync::Arc;

use parking_lot::Mutex;
use rayon::{ThreadPoolBuildError, ThreadPoolBuilder};
use spandrel_supply::CompileLimits;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::{Instant, timeout_at};

/// The priority of background work (`man 2 setpriority`): against a thread of the data path that
/// wants the same core, a background thread gets a tenth of it. At the lowest, 19, it would get 1.5
/// %, and with all cores taken a plugin of 260 KiB took up to 30 s.
#[cfg(target_os = "linux")]
const LOW: i32 = 10;

/// The place where the compiler runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum CompilerLocation {
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
pub(crate) enum CompileFailure {
    /// Another plugin is past its time and still being compiled.
    Busy,
    /// The work is past its time. Nothing can stop it, so it runs on, and keeps its permit.
    Late,
    /// The compiler panicked: a defect in it, but not a reason to stop the collector.
    Panicked,
    /// No threads could be started.
    Threads(ThreadPoolBuildError),
}

/// Compiles one plugin at a time. So at most one compilation that does not end runs in this
/// process, and at most one child uses memory at a time.
pub(crate) struct Compiler {
    permits: Arc<Semaphore>,
    /// The time when the work that has the permit should be done.
    due: Arc<Mutex<Option<Instant>>>,
}

impl fmt::Debug for Compiler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Compiler").finish_non_exhaustive()
    }
}

/// The permit to compile one plugin. The work holds it, not the caller who waits for the work: it
/// is given back when the work ends.
#[derive(Debug)]
pub(crate) struct CompilePermit {
    _permit: OwnedSemaphorePermit,
    shared: Arc<Mutex<Option<Instant>>>,
    /// The time when the work should be done.
    due: Instant,
}

impl CompilePermit {
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

impl Drop for CompilePermit {
    fn drop(&mut self) {
        set(&self.shared, None);
    }
}

fn set(due: &Mutex<Option<Instant>>, at: Option<Instant>) {
    *due.lock() = at;
}

impl Compiler {
    pub(crate) fn new() -> Self {
        Self {
            permits: Arc::new(Semaphore::new(1)),
            due: Arc::default(),
        }
    }

    /// Waits for the permit, at most until the work that has it is due. The time of the caller's
    /// own work begins then.
    pub(crate) async fn permit(
        &self,
        limits: CompileLimits,
    ) -> Result<Arc<CompilePermit>, CompileFailure> {
        let due = *self.due.lock();
        let due = due.unwrap_or_else(|| Instant::now() + limits.time);
        let permit = timeout_at(due, Arc::clone(&self.permits).acquire_owned()).await;
        let permit = permit.ok().and_then(Result::ok);
        let permit = permit.ok_or(CompileFailure::Busy)?;
        let due = Instant::now() + limits.time;
        Ok(Arc::new(CompilePermit::new(
            permit,
            Arc::clone(&self.due),
            due,
        )))
    }
}

/// Runs `work` on threads made for it, and waits for it until its time is over. A caller that stops
/// waiting does not stop the work.
pub(crate) async fn run<T, F>(
    permit: &Arc<CompilePermit>,
    background: bool,
    work: F,
) -> Result<T, CompileFailure>
where
    T: Send + 'static,
    F: FnOnce() -> T + Send + 'static,
{
    let due = permit.due();
    let permit = Arc::clone(permit);
    let threads = threads(background).map_err(CompileFailure::Threads)?;
    let (done, result) = oneshot::channel();
    threads.spawn(move || {
        let _permit = permit;
        // A caller that gave up does not want the result.
        drop(done.send(work()));
    });
    // The pool ends once its work is done.
    drop(threads);
    match timeout_at(due, result).await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(_)) => Err(CompileFailure::Panicked),
        Err(_) => Err(CompileFailure::Late),
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
