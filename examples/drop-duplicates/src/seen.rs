//! The spans of the last moments, in bounded memory.

use std::collections::HashSet;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use spandrel_guest::{IdHash, Moment};

use crate::ids::Ids;

/// The most ids that a state has, the youngest: 14 of the 16 MiB that a stage lets it have.
const MOST_CARRIED: usize = 450_000;

/// Two generations of ids. New ones go into the younger; when that is a window old, or full, it
/// becomes the elder and what was the elder is forgotten. So nothing is looked at one by one to
/// forget it, and an id is remembered for one window at least and two at most.
#[derive(Debug)]
pub(crate) struct Seen {
    younger: HashSet<Ids, IdHash>,
    elder: HashSet<Ids, IdHash>,
    /// When the younger began.
    began: Moment,
    window: Duration,
    /// The most that one generation takes.
    most: usize,
}

/// What the next generation of the plugin takes over.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Remembered {
    began: Moment,
    #[serde(with = "spandrel_guest::state::flat")]
    elder: Vec<[u8; Ids::BYTES]>,
    #[serde(with = "spandrel_guest::state::flat")]
    younger: Vec<[u8; Ids::BYTES]>,
}

impl Seen {
    pub(crate) fn new(window: Duration, max_spans: usize, now: Moment) -> Self {
        Self {
            younger: HashSet::default(),
            elder: HashSet::default(),
            began: now,
            window,
            most: max_spans / 2,
        }
    }

    /// Lets go of what is too old.
    pub(crate) fn forget_old(&mut self, now: Moment) {
        let age = now - self.began;
        if age >= self.window.saturating_mul(2) {
            self.younger.clear();
        }
        if age >= self.window {
            self.turn(now);
        }
    }

    /// Remembers a span; false when it is remembered already.
    pub(crate) fn insert(&mut self, ids: Ids, now: Moment) -> bool {
        if self.elder.contains(&ids) || !self.younger.insert(ids) {
            return false;
        }
        if self.younger.len() >= self.most {
            self.turn(now);
        }
        true
    }

    fn turn(&mut self, now: Moment) {
        std::mem::swap(&mut self.younger, &mut self.elder);
        self.younger.clear();
        self.began = now;
    }

    /// How many are remembered.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.younger.len() + self.elder.len()
    }

    /// Whether it is remembered, without a change.
    #[cfg(test)]
    pub(crate) fn knows(&self, ids: Ids) -> bool {
        self.elder.contains(&ids) || self.younger.contains(&ids)
    }

    /// All of it, or as much as fits into a state.
    pub(crate) fn remembered(&self) -> Remembered {
        let bytes = |ids: &HashSet<Ids, IdHash>, most: usize| {
            let ids = ids.iter().take(most);
            ids.map(|ids| ids.to_bytes()).collect()
        };
        let elders = MOST_CARRIED.saturating_sub(self.younger.len());
        Remembered {
            began: self.began,
            elder: bytes(&self.elder, elders),
            younger: bytes(&self.younger, MOST_CARRIED),
        }
    }

    /// Remembers what another instance did as well. Nothing is forgotten sooner than that one
    /// would have; what is more than there is room for pushes out the oldest, as ever.
    ///
    /// Where both have worked, their younger ones began at different times, and the later one
    /// counts: then an id may be remembered for up to three windows.
    pub(crate) fn add(&mut self, other: &Remembered, now: Moment) {
        self.forget_old(now);
        let age = now - other.began;
        let (elder, younger, began): (&[_], &[_], _) = if age >= self.window.saturating_mul(2) {
            return;
        } else if age >= self.window {
            // They are due to become the elder, for a window from now on.
            (&other.younger, &[], now)
        } else {
            (&other.elder, &other.younger, other.began.min(now))
        };
        let is_new = self.younger.is_empty() && self.elder.is_empty();
        if is_new || began > self.began {
            self.began = began;
        }
        let room = self.most.saturating_sub(self.elder.len());
        let elder = elder.iter().take(room);
        self.elder.extend(elder.map(Ids::from_bytes));
        self.younger.reserve(younger.len().min(self.most));
        for ids in younger.iter().map(Ids::from_bytes) {
            // Also when it is among the elder here: it may be needed for longer than these.
            self.younger.insert(ids);
            if self.younger.len() >= self.most {
                self.turn(now);
            }
        }
    }
}
