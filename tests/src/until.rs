//! Waiting, with a bound: every wait of a test ends, and says what it waited for. And saying.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

/// How long a test waits for something that should happen promptly. Generous, because the machines
/// of CI are small and busy; nothing waits this long when all is well.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// How often a condition is looked at that nothing announces.
const LOOK: Duration = Duration::from_millis(10);

/// Waits for a future, at most [`PATIENCE`].
///
/// # Errors
/// When the time is over; `what` says what was waited for.
pub async fn soon<T>(what: &str, future: impl Future<Output = T>) -> Result<T> {
    timeout(PATIENCE, future)
        .await
        .with_context(|| format!("waited {PATIENCE:?} for {what}"))
}

/// Waits until `look` gives a value, at most [`PATIENCE`].
///
/// # Errors
/// When the time is over; `what` says what was waited for.
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

/// Says something on stderr that a test runner does not keep to itself.
pub fn say(text: &str) {
    use std::io::Write as _;
    // Who closed stderr does not want to read this.
    drop(writeln!(std::io::stderr(), "{text}"));
}

/// What a test returns that cannot run on this machine: it says so where it is seen, and with `CI=true`
/// it fails, because nobody reads what a green CI says.
///
/// # Errors
/// With `CI=true`.
pub fn not_run(test: &str, why: &str) -> Result<()> {
    let in_ci = std::env::var("CI").is_ok_and(|ci| ci == "true");
    ensure!(!in_ci, "{test} cannot run: {why}; with CI=true it must run");
    say(&format!("\n==> NOT RUN: {test}: {why}\n"));
    Ok(())
}
