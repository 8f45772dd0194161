//! The recently seen spans, in bounded memory.

use std::collections::HashSet;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use spandrel_guest::{IdHash, Moment};

use crate::ids::Ids;

/// The most ids, the youngest, that a state contains. They take 14 of the 16 MiB that a state may
/// have.
const MOST_CARRIED: usize = 450_000;

/// Two generations of ids. New ids go into the younger generation. When that is a window old, or
/// full, it becomes the elder, and the previous elder is forgotten. So no id is examined one by one
/// to forget it, and an id is remembered for at least one window and at most two.
#[derive(Debug)]
pub(crate) struct Seen {
    younger: HashSet<Ids, IdHash>,
    elder: HashSet<Ids, IdHash>,
    /// The time when the younger generation began.
    began: Moment,
    window: Duration,
    /// The most ids that one generation takes.
    most: usize,
}

/// The state that the next generation of the plugin takes over.
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

    /// Forgets ids that are too old.
    pub(crate) fn forget_old(&mut self, now: Moment) {
        let age = now - self.began;
        if age >= self.window.saturating_mul(2) {
            self.younger.clear();
        }
        if age >= self.window {
            self.turn(now);
        }
    }

    /// Remembers a span; returns false if it is remembered already.
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

    /// Returns the number of remembered spans.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.younger.len() + self.elder.len()
    }

    /// Returns true if it is remembered. Changes nothing.
    #[cfg(test)]
    pub(crate) fn knows(&self, ids: Ids) -> bool {
        self.elder.contains(&ids) || self.younger.contains(&ids)
    }

    /// Returns all remembered ids, or as many as fit into a state.
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

    /// Adds the ids that another instance remembers. Nothing is forgotten sooner than that instance
    /// would have; if there are more than fit, the oldest are pushed out, as usual.
    ///
    /// If both instances have worked, their younger generations began at different times, and the
    /// later one counts: then an id may be remembered for up to three windows.
    pub(crate) fn add(&mut self, other: &Remembered, now: Moment) {
        self.forget_old(now);
        let age = now - other.began;
        let (elder, younger, began): (&[_], &[_], _) = if age >= self.window.saturating_mul(2) {
            return;
        } else if age >= self.window {
            // The other's younger ids are due to become the elder, for a window from now on.
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
            // Inserted even if it is among the elder here: it may be needed for longer than those.
            self.younger.insert(ids);
            if self.younger.len() >= self.most {
                self.turn(now);
            }
        }
    }
}
