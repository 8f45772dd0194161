//! Waiting, with a bound: every wait of a test ends, and says what it waited for. And saying.

use std::time::Duration;

use anyhow::{Context as _, Result};
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
        anyhow::ensure!(
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
