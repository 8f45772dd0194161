//! Waiting with a bound: every wait of a test ends, and its error says what the test waited for.
//! Also messages on stderr.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

/// The longest time that a test waits for something that should happen promptly. It is generous,
/// because the machines of CI are small and busy; no wait takes this long when all is well.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// The interval for checking a condition that has no notification.
const LOOK: Duration = Duration::from_millis(10);

/// Waits for a future, at most [`PATIENCE`].
///
/// # Errors
/// Returns an error if the time is over; it contains `what`, a name for the awaited thing.
pub async fn soon<T>(what: &str, future: impl Future<Output = T>) -> Result<T> {
    timeout(PATIENCE, future)
        .await
        .with_context(|| format!("waited {PATIENCE:?} for {what}"))
}

/// Waits until `look` returns a value, at most [`PATIENCE`].
///
/// # Errors
/// Returns an error if the time is over; it contains `what`, a name for the awaited thing.
pub async fn until<T, F>(what: &str, mut look: impl FnMut() -> F) -> Result<T>
where
    F: Future<Output = Option<T>>,
{
    let started = Instant::now();
    let mut ticks = interval(LOOK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        if let Some(value) = look().await {
            return Ok(value);
        }
        ensure!(
            started.elapsed() < PATIENCE,
            "waited {PATIENCE:?} for {what}"
        );
    }
}

/// Prints a text on stderr, past the test runner, which does not capture it.
pub fn say(text: &str) {
    use std::io::Write as _;
    // An error is ignored: if stderr is closed, nobody reads it.
    drop(writeln!(std::io::stderr(), "{text}"));
}

/// Reports that a test cannot run on this machine, where people see it. With `CI=true` it fails
/// instead, because nobody reads the output of a green CI.
///
/// # Errors
/// Returns an error with `CI=true`.
pub fn not_run(test: &str, why: &str) -> Result<()> {
    let in_ci = std::env::var("CI").is_ok_and(|ci| ci == "true");
    ensure!(!in_ci, "{test} cannot run: {why}; with CI=true it must run");
    say(&format!("\n==> NOT RUN: {test}: {why}\n"));
    Ok(())
}
