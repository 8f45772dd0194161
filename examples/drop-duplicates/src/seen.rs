//! The spans of the last moments, in bounded memory.

use std::collections::HashSet;
use std::time::Duration;

use spandrel_guest::IdHash;

use crate::ids::Ids;

/// Two generations of ids. New ones go into the younger; when that is a window old, or full, it
/// becomes the elder and what was the elder is forgotten. So nothing is looked at one by one to
/// forget it, and an id is remembered for one window at least and two at most.
#[derive(Debug)]
pub(crate) struct Seen {
    younger: HashSet<Ids, IdHash>,
    elder: HashSet<Ids, IdHash>,
    /// When the younger began.
    began: Duration,
    window: Duration,
    /// The most that one generation takes.
    most: usize,
}

impl Seen {
    pub(crate) fn new(window: Duration, max_spans: usize, now: Duration) -> Self {
        Self {
            younger: HashSet::default(),
            elder: HashSet::default(),
            began: now,
            window,
            most: max_spans / 2,
        }
    }

    /// Lets go of what is too old.
    pub(crate) fn forget_old(&mut self, now: Duration) {
        let age = now.saturating_sub(self.began);
        if age >= self.window.saturating_mul(2) {
            self.younger.clear();
        }
        if age >= self.window {
            self.turn();
            self.began = now;
        }
    }

    /// Remembers a span; false when it is remembered already.
    pub(crate) fn insert(&mut self, ids: Ids) -> bool {
        if self.elder.contains(&ids) || !self.younger.insert(ids) {
            return false;
        }
        if self.younger.len() >= self.most {
            self.turn();
        }
        true
    }

    fn turn(&mut self) {
        std::mem::swap(&mut self.younger, &mut self.elder);
        self.younger.clear();
    }

    /// How many are remembered.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.younger.len() + self.elder.len()
    }

    /// Version 1: nanoseconds since the younger began, the numbers of elder and younger ids,
    /// then the ids themselves in that order. Everything little-endian.
    pub(crate) fn write(&self, now: Duration) -> Vec<u8> {
        let ids = self.younger.len() + self.elder.len();
        let mut state = Vec::with_capacity(24 + ids * Ids::BYTES);
        let age = now.saturating_sub(self.began).as_nanos();
        let age = u64::try_from(age).unwrap_or(u64::MAX);
        state.extend_from_slice(&age.to_le_bytes());
        for generation in [&self.elder, &self.younger] {
            state.extend_from_slice(&(generation.len() as u64).to_le_bytes());
        }
        for ids in self.elder.iter().chain(&self.younger) {
            ids.write(&mut state);
        }
        state
    }

    /// Takes over what an earlier generation wrote; what does not fit any more is forgotten.
    pub(crate) fn read(&mut self, state: &[u8], now: Duration) -> Result<(), String> {
        let damaged = || "the state is not as long as it says".to_owned();
        let (header, ids) = state.split_first_chunk::<24>().ok_or_else(damaged)?;
        let &[age, elders, youngers] = header.as_chunks().0 else {
            return Err(damaged());
        };
        let [age, elders, youngers] = [age, elders, youngers].map(u64::from_le_bytes);
        let (ids, []) = ids.as_chunks::<{ Ids::BYTES }>() else {
            return Err(damaged());
        };
        if elders.checked_add(youngers) != Some(ids.len() as u64) {
            return Err(damaged());
        }
        let elders = usize::try_from(elders).map_err(|_| damaged())?;
        let (elder, younger) = ids.split_at_checked(elders).ok_or_else(damaged)?;
        self.elder.clear();
        self.younger.clear();
        self.elder
            .extend(elder.iter().take(self.most).map(Ids::read));
        self.younger
            .extend(younger.iter().take(self.most - 1).map(Ids::read));
        self.began = now.saturating_sub(Duration::from_nanos(age));
        Ok(())
    }
}
