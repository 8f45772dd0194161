//! Items that pass a stage without a judgement: how many, and whether they do so at present.

use std::time::Duration;

use tokio::time::Instant;

/// A generation that let nothing past for this long judges again. 30 s: three windows of the breaker,
/// so that a plugin which fails now and then is one state and not many.
const QUIET: Duration = Duration::from_secs(30);

/// What passed a generation without a judgement.
#[derive(Clone, Copy, Debug, Default)]
pub struct Bypass {
    items: u64,
    last: Option<Instant>,
    /// The log was told that it began, and not yet that it ended.
    is_told: bool,
}

impl Bypass {
    /// Items so far.
    pub fn items(&self) -> u64 {
        self.items
    }

    /// Whether an item passed in the last 30 s.
    pub fn is_on(&self) -> bool {
        self.last.is_some_and(|last| last.elapsed() < QUIET)
    }

    /// Adds items. Returns whether this began it, so that the log is told once.
    pub(super) fn add(&mut self, items: u64) -> bool {
        if items == 0 {
            return false;
        }
        self.items += items;
        self.last = Some(Instant::now());
        !std::mem::replace(&mut self.is_told, true)
    }

    /// Returns whether it is over, once.
    pub(super) fn ends(&mut self) -> bool {
        self.is_told && !self.is_on() && std::mem::take(&mut self.is_told)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// It begins once, ends once when nothing has passed for long enough, and can begin again.
    #[tokio::test(start_paused = true)]
    async fn begins_and_ends_once() {
        let mut bypass = Bypass::default();
        assert!(!bypass.add(0) && !bypass.is_on() && !bypass.ends());
        for _ in 0..2 {
            assert!(bypass.add(3), "it begins");
            tokio::time::advance(QUIET / 2).await;
            assert!(!bypass.add(4), "it goes on");
            tokio::time::advance(QUIET / 2).await;
            assert!(bypass.is_on() && !bypass.ends());
            tokio::time::advance(QUIET / 2).await;
            assert!(!bypass.is_on());
            assert!(bypass.ends() && !bypass.ends());
        }
        assert_eq!(bypass.items(), 14);
    }
}
