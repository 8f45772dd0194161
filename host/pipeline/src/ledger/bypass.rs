//! Items that pass a stage without a judgement: their number, and whether items do so at present.

use std::time::Duration;

use tokio::time::Instant;

/// The time without a bypass after which a generation counts as judging again. 30 s are three
/// windows of the breaker, so that a plugin that fails now and then is in one state, not in many.
const ENDED_AFTER: Duration = Duration::from_secs(30);

/// The items that passed a generation without a judgement.
#[derive(Clone, Copy, Debug, Default)]
pub struct Bypass {
    items: u64,
    last: Option<Instant>,
    /// True if the log was told that the bypass began, and not yet that it ended.
    is_told: bool,
}

impl Bypass {
    /// Returns the number of items so far.
    pub fn items(&self) -> u64 {
        self.items
    }

    /// Returns true if an item passed in the last 30 s.
    pub fn is_on(&self) -> bool {
        self.last.is_some_and(|last| last.elapsed() < ENDED_AFTER)
    }

    /// Adds items. Returns true if the bypass began with them, so that the log is told once.
    pub(super) fn add(&mut self, items: u64) -> bool {
        if items == 0 {
            return false;
        }
        self.items += items;
        self.last = Some(Instant::now());
        !std::mem::replace(&mut self.is_told, true)
    }

    /// Returns true once when the bypass is over.
    pub(super) fn ends(&mut self) -> bool {
        self.is_told && !self.is_on() && std::mem::take(&mut self.is_told)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A bypass begins once, ends once when nothing has passed for long enough, and can begin
    /// again.
    #[tokio::test(start_paused = true)]
    async fn begins_and_ends_once() {
        let mut bypass = Bypass::default();
        assert!(!bypass.add(0) && !bypass.is_on() && !bypass.ends());
        for _ in 0..2 {
            assert!(bypass.add(3), "it begins");
            tokio::time::advance(ENDED_AFTER / 2).await;
            assert!(!bypass.add(4), "it goes on");
            tokio::time::advance(ENDED_AFTER / 2).await;
            assert!(bypass.is_on() && !bypass.ends());
            tokio::time::advance(ENDED_AFTER / 2).await;
            assert!(!bypass.is_on());
            assert!(bypass.ends() && !bypass.ends());
        }
        assert_eq!(bypass.items(), 14);
    }
}
