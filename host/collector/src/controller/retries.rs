//! Changes that begin by themselves, at their time.

use std::time::Duration;

use spandrel_config::id::Id;
use tokio::time::{Instant, sleep_until};

/// A change that begins without a command: a plugin's file has changed, or an attempt failed and
/// nobody would ask again.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Retry {
    Stage(Id),
    Configuration,
}

/// The scheduled changes. Each is in here once, at the earliest of its times.
#[derive(Debug, Default)]
pub(super) struct Retries {
    scheduled: Vec<(Instant, Retry)>,
}

impl Retries {
    /// Schedules a change.
    pub(super) fn schedule(&mut self, retry: Retry, after: Duration) {
        let at = Instant::now() + after;
        let mut scheduled = self.scheduled.iter_mut();
        match scheduled.find(|(_, known)| *known == retry) {
            Some((known, _)) => *known = at.min(*known),
            None => self.scheduled.push((at, retry)),
        }
    }

    /// Returns true if a change is due.
    pub(super) fn is_due(&self) -> bool {
        self.first().is_some_and(|(_, at)| at <= Instant::now())
    }

    /// Takes a change that is due, the one that is due for the longest time first.
    pub(super) fn take_due(&mut self) -> Option<Retry> {
        let (index, at) = self.first()?;
        (at <= Instant::now()).then(|| self.scheduled.remove(index).1)
    }

    /// Waits until a change is due. Never resolves if none is scheduled.
    pub(super) async fn wait(&self) {
        match self.first() {
            Some((_, at)) => sleep_until(at).await,
            None => std::future::pending().await,
        }
    }

    fn first(&self) -> Option<(usize, Instant)> {
        let times = self.scheduled.iter().map(|(at, _)| *at);
        times.enumerate().min_by_key(|(_, at)| *at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A change comes when it is due and not before, the earliest first, and once. A second
    /// schedule can only make it earlier.
    #[tokio::test(start_paused = true)]
    async fn a_change_is_taken_once_at_its_earliest_time() {
        let stage = |name: &str| Retry::Stage(Id::parse(name).expect("an id"));
        let seconds = Duration::from_secs;
        let started = Instant::now();
        let mut retries = Retries::default();
        retries.schedule(stage("wasm/a"), seconds(5));
        retries.schedule(Retry::Configuration, seconds(3));
        retries.schedule(stage("wasm/a"), seconds(9));
        retries.schedule(stage("wasm/b"), seconds(8));
        retries.schedule(stage("wasm/b"), Duration::ZERO);
        let mut taken = Vec::new();
        while tokio::time::timeout(seconds(60), retries.wait())
            .await
            .is_ok()
        {
            let retry = retries.take_due().expect("a change that is due");
            taken.push((started.elapsed().as_secs(), retry));
            assert_eq!(retries.take_due(), None, "none is due before its time");
        }
        let expected = [
            (0, stage("wasm/b")),
            (3, Retry::Configuration),
            (5, stage("wasm/a")),
        ];
        assert_eq!(taken, expected);
    }
}
