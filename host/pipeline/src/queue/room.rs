//! Room in a queue: bounds that can be moved while parts of them are taken.

use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard, RwLock};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::QueueConfig;

/// Bytes are counted in KiB, so that the largest queue fits a semaphore's 32-bit permit counts.
pub(super) const BYTES_UNIT: usize = 1 << 10;

/// A bound on something, in its own unit. It can be moved at any time.
#[derive(Debug)]
pub(super) struct AdjustableBound {
    free: Arc<Semaphore>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    size: usize,
    /// The number of permits that are not given out again when they come back, because the bound
    /// became smaller than what is taken.
    owed: usize,
}

fn clamp(size: usize) -> usize {
    size.clamp(1, Semaphore::MAX_PERMITS)
}

impl AdjustableBound {
    pub(super) fn new(size: usize) -> Arc<Self> {
        let size = clamp(size);
        Arc::new(Self {
            free: Arc::new(Semaphore::new(size)),
            state: Mutex::new(State { size, owed: 0 }),
        })
    }

    /// Moves the bound. Permits that are taken stay taken, even beyond a smaller bound.
    pub(super) fn resize(&self, size: usize) {
        let size = clamp(size);
        let mut state = self.lock();
        if size >= state.size {
            let more = size - state.size;
            let paid = more.min(state.owed);
            state.owed -= paid;
            self.free.add_permits(more - paid);
        } else {
            let fewer = state.size - size;
            state.owed += fewer - self.free.forget_permits(fewer);
        }
        state.size = size;
    }

    /// Returns the number of permits that are taken.
    pub(super) fn taken(&self) -> usize {
        let state = self.lock();
        (state.size + state.owed).saturating_sub(self.free.available_permits())
    }

    pub(super) fn try_take(self: &Arc<Self>, weight: u32) -> Option<BoundPermit> {
        let permit = Arc::clone(&self.free).try_acquire_many_owned(weight).ok()?;
        Some(self.permit(permit))
    }

    /// Waits for room, in turn. The caller bounds the wait.
    pub(super) async fn take(self: &Arc<Self>, weight: u32) -> Option<BoundPermit> {
        let permit = Arc::clone(&self.free).acquire_many_owned(weight);
        Some(self.permit(permit.await.ok()?))
    }

    fn permit(self: &Arc<Self>, permit: OwnedSemaphorePermit) -> BoundPermit {
        BoundPermit {
            bound: Arc::clone(self),
            permit: Some(permit),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }
}

/// A part of what a bound allows, until this is dropped.
#[derive(Debug)]
pub(super) struct BoundPermit {
    bound: Arc<AdjustableBound>,
    permit: Option<OwnedSemaphorePermit>,
}

impl Drop for BoundPermit {
    fn drop(&mut self) {
        let Some(mut permit) = self.permit.take() else {
            return;
        };
        // Given back under the lock, so that a bound that is moved meanwhile finds it.
        let mut state = self.bound.lock();
        let paid = state.owed.min(permit.num_permits());
        if paid > 0
            && let Some(part) = permit.split(paid)
        {
            state.owed -= paid;
            part.forget();
        }
        drop(permit);
    }
}

/// The room of one class.
#[derive(Debug)]
pub(super) struct Room {
    /// The bound in the queue's unit. It is replaced when the unit changes.
    units: RwLock<Arc<AdjustableBound>>,
    kib: Arc<AdjustableBound>,
}

impl Room {
    pub(super) fn new(config: &QueueConfig) -> Self {
        Self {
            units: RwLock::new(AdjustableBound::new(config.queue_size)),
            kib: AdjustableBound::new(config.max_bytes / BYTES_UNIT),
        }
    }

    pub(super) fn units(&self) -> Arc<AdjustableBound> {
        Arc::clone(&self.units.read())
    }

    pub(super) fn kib(&self) -> &Arc<AdjustableBound> {
        &self.kib
    }

    /// Moves the bounds. If the unit changes, room taken before counts in the old unit, and in
    /// bytes.
    pub(super) fn resize(&self, before: &QueueConfig, after: &QueueConfig) {
        if before.sizer == after.sizer {
            self.units().resize(after.queue_size);
        } else {
            let mut units = self.units.write();
            *units = AdjustableBound::new(after.queue_size);
        }
        self.kib.resize(after.max_bytes / BYTES_UNIT);
    }
}

/// Room for one batch in one queue. Parts of the batch share it; the last one to be dropped gives
/// it back.
#[derive(Clone, Debug)]
pub(crate) struct Permit {
    _share: Arc<Share>,
    is_for_disk: bool,
}

/// The shares of a queue's bounds that stand behind a permit.
#[derive(Debug)]
enum Share {
    Batch {
        _units: BoundPermit,
        _kib: BoundPermit,
    },
    /// Those of several batches that are one batch now.
    Joined { _permits: Vec<Permit> },
}

impl Permit {
    pub(super) fn new(units: BoundPermit, kib: BoundPermit) -> Self {
        Self::with(Share::Batch {
            _units: units,
            _kib: kib,
        })
    }

    /// Makes one permit of those of several batches, for the batch that they are now.
    pub(crate) fn join(permits: Vec<Self>) -> Self {
        Self::with(Share::Joined { _permits: permits })
    }

    fn with(share: Share) -> Self {
        Self {
            _share: Arc::new(share),
            is_for_disk: false,
        }
    }

    /// Marks this as room on the way to the exporter's log, not in its queue.
    pub(crate) fn for_disk(self) -> Self {
        Self {
            is_for_disk: true,
            ..self
        }
    }

    /// Returns true if the batch goes to the exporter's log.
    pub(crate) fn is_for_disk(&self) -> bool {
        self.is_for_disk
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A bound that becomes smaller than what is taken gives nothing out until enough came back. A
    /// bound that grows again gives out what it has.
    #[test]
    fn a_bound_moves_while_it_is_taken() {
        let bound = AdjustableBound::new(10);
        let all: Vec<_> = (0..10).filter_map(|_| bound.try_take(1)).collect();
        assert_eq!((all.len(), bound.taken()), (10, 10));
        bound.resize(3);
        assert_eq!(bound.taken(), 10);
        let mut all = all.into_iter();
        drop(all.by_ref().take(7).collect::<Vec<_>>());
        assert_eq!(bound.taken(), 3);
        assert!(bound.try_take(1).is_none(), "three of three are taken");
        drop(all.next());
        let again = bound.try_take(1);
        assert!(again.is_some() && bound.try_take(1).is_none());
        bound.resize(1);
        bound.resize(5);
        let more: Vec<_> = (0..10).filter_map(|_| bound.try_take(1)).collect();
        assert_eq!((more.len(), bound.taken()), (2, 5));
        drop((all, again, more));
        assert_eq!(bound.taken(), 0);
        assert!(bound.try_take(5).is_some());
    }
}
