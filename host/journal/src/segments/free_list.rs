//! The segments that can be used at once.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::{Condvar, Mutex, MutexGuard};
use tokio::time::Instant;

use crate::vfs::File;

/// A segment of the usual size that can be used at once.
#[derive(Clone, Debug)]
pub(crate) struct FreeSegment {
    /// The number in the name of its file.
    pub(crate) id: u64,
    /// Its file, open.
    pub(crate) file: Arc<dyn File>,
}

/// The segments that wait for their use, and the one that is being allocated.
#[derive(Debug, Default)]
pub(crate) struct FreeList {
    state: Mutex<State>,
    /// Notified when there is one more, or an allocation has ended without one.
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    segments: VecDeque<FreeSegment>,
    /// The next number for a segment's file.
    next_id: u64,
    /// True while a segment is being allocated ahead of its use.
    allocating: bool,
    /// The time before which none is allocated ahead of its use, because the last one could not be.
    pause_until: Option<Instant>,
}

impl FreeList {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    /// Returns a number for a new segment's file.
    pub(crate) fn new_id(&self) -> u64 {
        let mut state = self.state();
        state.next_id += 1;
        state.next_id - 1
    }

    /// Says that a file has this number.
    pub(crate) fn note_id(&self, id: u64) {
        let mut state = self.state();
        state.next_id = state.next_id.max(id.saturating_add(1));
    }

    /// Returns the number of free segments.
    pub(crate) fn len(&self) -> usize {
        self.state().segments.len()
    }

    /// Adds a segment.
    pub(crate) fn push(&self, segment: FreeSegment) {
        self.state().segments.push_back(segment);
        self.changed.notify_all();
    }

    /// Takes the first segment, or waits for one that is being allocated.
    pub(crate) fn take(&self) -> Option<FreeSegment> {
        let mut state = self.state();
        while state.segments.is_empty() && state.allocating {
            self.changed.wait(&mut state);
        }
        state.segments.pop_front()
    }

    /// Takes the last segment, without waiting.
    pub(crate) fn pop_last(&self) -> Option<FreeSegment> {
        self.state().segments.pop_back()
    }

    /// Returns true if the caller should have a segment allocated now. It is then marked as being
    /// allocated, until [`FreeList::end_allocation`].
    pub(crate) fn begin_allocation(&self) -> bool {
        let mut state = self.state();
        let early = state.pause_until.is_some_and(|at| Instant::now() < at);
        let wanted = state.segments.is_empty() && !state.allocating && !early;
        state.allocating |= wanted;
        wanted
    }

    /// Ends an allocation, and wakes those who wait for it.
    pub(crate) fn end_allocation(&self) {
        self.state().allocating = false;
        self.changed.notify_all();
    }

    /// Lets no allocation begin before this time.
    pub(crate) fn pause_until(&self, until: Instant) {
        self.state().pause_until = Some(until);
    }

    /// Returns the number that the next new file gets.
    #[cfg(test)]
    pub(crate) fn next_id(&self) -> u64 {
        self.state().next_id
    }
}
