//! Tests of threads, permits and times, with work that is not the compiler's.

use std::sync::mpsc;
use std::time::Duration;

#[cfg(target_os = "linux")]
use super::LOW;
use super::{CompileFailure, CompileLimits, Compiler};

async fn run<T, F>(compiler: &Compiler, limits: CompileLimits, work: F) -> Result<T, CompileFailure>
where
    T: Send + 'static,
    F: FnOnce() -> T + Send + 'static,
{
    let permit = compiler.permit(limits).await?;
    super::run(&permit, limits.background, work).await
}

fn within(time: Duration) -> CompileLimits {
    CompileLimits {
        time,
        ..CompileLimits::default()
    }
}

/// Returns limits with a time longer than any test.
fn long() -> CompileLimits {
    within(Duration::from_secs(600))
}

/// Returns the name and priority of the threads that both halves of some work ran on.
#[cfg(target_os = "linux")]
fn places() -> [(String, i32); 2] {
    let place = || {
        let name = std::thread::current().name().unwrap_or_default().to_owned();
        let priority = rustix::process::getpriority_process(None).expect("a priority");
        (name, priority)
    };
    let (one, other) = rayon::join(place, place);
    [one, other]
}

/// All parts of the work run on threads made for it, at a low priority if it is background work;
/// the caller keeps its own priority.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn the_work_has_its_own_threads() {
    let compiler = Compiler::new();
    let ours = || rustix::process::getpriority_process(None).expect("a priority");
    let before = ours();
    for (background, expected) in [(true, before.max(LOW)), (false, before)] {
        let limits = CompileLimits {
            background,
            ..long()
        };
        for (name, priority) in run(&compiler, limits, places).await.expect("done") {
            assert!(name.starts_with("compile-"), "{name}");
            assert_eq!(priority, expected);
        }
    }
    assert_eq!(ours(), before);
}

/// The caller gives up on work past its time; other work is refused while it still runs, and no
/// longer.
#[tokio::test]
async fn at_most_one_runs_past_its_time() {
    let compiler = Compiler::new();
    let (go_on, wait) = mpsc::channel::<()>();
    let (ended, end) = tokio::sync::oneshot::channel();
    let endless = move || {
        wait.recv().expect_err("the test lets go of it");
        ended.send(()).expect("the test waits");
    };
    let late = run(&compiler, within(Duration::from_millis(1)), endless);
    assert!(matches!(late.await, Err(CompileFailure::Late)));
    for _ in 0..2 {
        let next = run(&compiler, long(), || ()).await;
        assert!(matches!(next, Err(CompileFailure::Busy)), "{next:?}");
    }
    drop(go_on);
    end.await.expect("ended");
    // The permit is given back right after; the next caller may have to wait for that.
    let _permit = compiler.permits.acquire().await.expect("free again");
    assert!(compiler.due.lock().is_none());
}

/// Work waits for its turn: two never run at a time.
#[tokio::test]
async fn one_at_a_time() {
    let compiler = Compiler::new();
    let (first_begins, begun) = tokio::sync::oneshot::channel();
    let (go_on, wait) = mpsc::channel::<()>();
    let first = run(&compiler, long(), move || {
        first_begins.send(()).expect("the test waits");
        wait.recv().expect("told to go on");
        tokio::time::Instant::now()
    });
    let second = async {
        begun.await.expect("the first runs");
        let second = run(&compiler, long(), tokio::time::Instant::now);
        let release = async { go_on.send(()).expect("the first waits") };
        tokio::join!(second, release).0
    };
    let (first, second) = tokio::join!(first, second);
    assert!(first.expect("done") <= second.expect("done"));
}

/// A caller that stops waiting does not give back the permit of work that still runs.
#[tokio::test]
async fn a_caller_that_leaves_does_not_end_the_permit() {
    let compiler = Compiler::new();
    let (begins, begun) = tokio::sync::oneshot::channel();
    let (_go_on, wait) = mpsc::channel::<()>();
    let work = run(&compiler, long(), move || {
        begins.send(()).expect("the test waits");
        wait.recv().unwrap_or_default();
    });
    tokio::select! {
        _ = work => panic!("it waits"),
        begun = begun => begun.expect("it runs"),
    }
    assert_eq!(compiler.permits.available_permits(), 0);
}

/// A panic of the compiler is reported, and harms neither the process nor the next in turn.
#[tokio::test]
async fn a_panic_is_told() {
    let compiler = Compiler::new();
    let panicked = run(&compiler, long(), || panic!("as a defect would")).await;
    assert!(matches!(panicked, Err(CompileFailure::Panicked)));
    assert_eq!(run(&compiler, long(), || 7).await.expect("done"), 7);
}
