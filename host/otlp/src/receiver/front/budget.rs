//! The resources that all requests in flight share: memory, and decoders at work.

use std::sync::Arc;
use std::thread::available_parallelism;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use super::fair::{self, ConnectionId, FairSemaphore, Rule};
use crate::compression::{MAX_STATE_BYTES, MIN_STATE_BYTES};
use crate::status::RequestError;

/// The unit in which memory is counted: finer than any buffer that is made.
const UNIT: usize = 1024;

/// The time that a request waits for room. Requests that wait may hold part of what others wait
/// for, so the wait must end by itself; a second is enough for a burst to pass.
pub(crate) const WAIT: Duration = Duration::from_secs(1);

/// The largest request, in bytes, that may take the last eighth of the memory, which is kept for
/// such requests: a few huge requests that arrive slowly leave room for hundreds of usual ones.
const SMALL: usize = 1 << 20;

/// The number of decoders at work for each core. A decoder never waits for its sender, so two keep
/// a core busy; each may have a window and what it has inflated so far.
const INFLATING_PER_CORE: usize = 2;

/// The size above which a request is swollen if it is also more than [`SWOLLEN_RATIO`] times what
/// was sent. OTLP inflates to ten times its size, a batch of spans that are all alike to fifty. All
/// swollen requests together have a sixteenth of the memory, so bombs leave the rest to others.
const SWOLLEN_BYTES: usize = 1 << 20;
const SWOLLEN_RATIO: usize = 64;

/// The longest swollen request, whatever the longest request is: four times what the Collector
/// takes of any request by default. A longer one is refused for good, as a request that is too
/// long.
pub(crate) const SWOLLEN_LIMIT: usize = 16 << 20;

/// The size from which a swollen request leaves a buffer behind that the allocator gives back to
/// the system only after a while; the next one would be made beside it.
const SWOLLEN_BUFFER: usize = 8 << 20;
/// The time that the allocator at least needs for that: it purges after a tenth of a second. Until
/// then the next swollen request is told to come back.
const SETTLING: Duration = Duration::from_millis(150);

/// The memory and the decoders for requests, given out as leases.
#[derive(Debug)]
pub(crate) struct Budget {
    bytes: Arc<FairSemaphore>,
    swollen: Arc<SwollenRequests>,
    inflating: Arc<FairSemaphore>,
}

impl Budget {
    /// Creates a budget of about this many bytes, or of what one longest request can take if that
    /// is more: a request that never fits would be told to come back for ever.
    pub(crate) fn new(bytes: usize, longest: usize) -> Self {
        let longest = longest.saturating_add(1);
        // The bytes that were sent stay until all of them are inflated.
        let all = longest.saturating_mul(2);
        let least =
            all.saturating_add(MAX_STATE_BYTES.min(longest.saturating_add(MIN_STATE_BYTES)));
        Self::of(bytes.max(least), least, longest)
    }

    /// Creates a budget of this many bytes, of which at least `least` are for requests of every
    /// size.
    fn of(total: usize, least: usize, longest: usize) -> Self {
        let rule = Rule::Share {
            reserve: (total / 8).min(total.saturating_sub(least)) / UNIT,
            small: SMALL / UNIT,
        };
        let least_swollen = longest.min(SWOLLEN_LIMIT + 1);
        let swollen = units(least_swollen.max(total / 16)).min(Semaphore::MAX_PERMITS);
        let cores = available_parallelism().map_or(2, usize::from);
        Self {
            bytes: FairSemaphore::new(units(total), rule),
            swollen: Arc::new(SwollenRequests {
                room: Arc::new(Semaphore::new(swollen)),
                large_ended: Mutex::default(),
            }),
            inflating: FairSemaphore::new(cores * INFLATING_PER_CORE, Rule::Whole),
        }
    }

    /// Creates a budget of exactly this many bytes.
    #[cfg(test)]
    pub(crate) fn exactly(bytes: usize) -> Self {
        Self::of(bytes, bytes, bytes)
    }

    /// Returns an empty lease, for a request of this connection.
    pub(crate) fn lease(&self, connection: ConnectionId) -> Lease {
        Lease {
            bytes: self.bytes.permit(connection),
            decoder: self.inflating.permit(connection),
            swollen: None,
            all_swollen: Arc::clone(&self.swollen),
        }
    }
}

/// The memory that all swollen requests share.
#[derive(Debug)]
struct SwollenRequests {
    room: Arc<Semaphore>,
    /// The time when the last request of [`SWOLLEN_BUFFER`] or more was dropped.
    large_ended: Mutex<Option<Instant>>,
}

impl SwollenRequests {
    fn large_ended(&self) -> parking_lot::MutexGuard<'_, Option<Instant>> {
        self.large_ended.lock()
    }

    fn is_settling(&self) -> bool {
        self.large_ended()
            .is_some_and(|ended| ended.elapsed() < SETTLING)
    }
}

/// Returns the most bytes that telemetry inflates to; a request that inflates to more is swollen.
pub(crate) fn unswollen(sent: usize) -> usize {
    let most = sent.saturating_add(1).saturating_mul(SWOLLEN_RATIO) - 1;
    most.max(SWOLLEN_BYTES)
}

fn units(bytes: usize) -> usize {
    bytes.div_ceil(UNIT)
}

/// The part of the budget that one request holds; it is given back on drop.
#[derive(Debug)]
pub(crate) struct Lease {
    bytes: fair::Permit,
    decoder: fair::Permit,
    swollen: Option<OwnedSemaphorePermit>,
    all_swollen: Arc<SwollenRequests>,
}

impl Lease {
    /// Grows the lease to at least `bytes`, or returns an error that tells the sender to come back.
    pub(crate) async fn grow_to(&mut self, bytes: usize) -> Result<(), RequestError> {
        let grown = self.bytes.grow_to(units(bytes), WAIT).await;
        grown.map_err(|_full| RequestError::Busy)
    }

    /// Shrinks the lease to at most `bytes`, and gives the decoder back.
    pub(crate) fn inflated(&mut self, bytes: usize) {
        self.decoder.shrink_to(0);
        self.bytes.shrink_to(units(bytes));
    }

    /// Shrinks the lease to at most `bytes`.
    pub(crate) fn shrink_to(&mut self, bytes: usize) {
        self.bytes.shrink_to(units(bytes));
    }

    /// Returns true if it holds memory that others lack.
    pub(crate) fn is_missed(&self) -> bool {
        self.bytes.holds() && self.bytes.is_short()
    }

    /// Waits for its turn at a decoder.
    pub(crate) async fn decoder(&mut self) -> Result<(), RequestError> {
        let grown = self.decoder.grow_to(1, WAIT).await;
        grown.map_err(|_full| RequestError::Busy)
    }

    /// Takes room for a swollen request. Must be called before `sent` bytes are inflated to as many
    /// as `inflated`. There is no wait: a request that waits here would hold what the others lack.
    pub(crate) fn swell_to(&mut self, inflated: usize, sent: usize) -> Result<(), RequestError> {
        if inflated <= unswollen(sent) {
            return Ok(());
        }
        let held = self.swollen.as_ref().map_or(0, |held| held.num_permits());
        if held == 0 && self.all_swollen.is_settling() {
            return Err(RequestError::Busy);
        }
        let more = u32::try_from(units(inflated).saturating_sub(held));
        let more = more.map_err(|_| RequestError::Busy)?;
        let taken = Arc::clone(&self.all_swollen.room).try_acquire_many_owned(more);
        let taken = taken.map_err(|_| RequestError::Busy)?;
        match &mut self.swollen {
            Some(held) => held.merge(taken),
            None => self.swollen = Some(taken),
        }
        Ok(())
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let held = self.swollen.as_ref().map_or(0, |held| held.num_permits());
        if held >= SWOLLEN_BUFFER / UNIT {
            *self.all_swollen.large_ended() = Some(Instant::now());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Room is never given twice, a request that gets none is told so, and held room comes back.
    #[tokio::test(start_paused = true)]
    async fn leases_never_exceed_the_budget() {
        let budget = Budget::exactly(1 << 20);
        let mut first = budget.lease(1);
        let mut second = budget.lease(2);
        first.grow_to(600 << 10).await.expect("room for the first");
        first.grow_to(500 << 10).await.expect("held already");
        second
            .grow_to(424 << 10)
            .await
            .expect("room for the second");
        let more = second.grow_to((424 << 10) + 1).await;
        assert!(matches!(more, Err(RequestError::Busy)));
        drop(first);
        second.grow_to(1 << 20).await.expect("all of it");
    }

    /// The longest request fits with its compressed bytes and its decoder, whatever the budget.
    #[tokio::test(start_paused = true)]
    async fn the_longest_request_fits() {
        let longest = 64 << 20;
        for bytes in [0, 1 << 20, 256 << 20] {
            let budget = Budget::new(bytes, longest);
            let mut lease = budget.lease(1);
            lease.swell_to(SWOLLEN_LIMIT + 1, 64 << 10).expect("alone");
            let all = longest * 2 + MAX_STATE_BYTES;
            lease.grow_to(all).await.expect("alone");
        }
    }

    /// Bombs have a sixteenth of the memory together; a request that inflates as telemetry does is
    /// no bomb.
    #[tokio::test]
    async fn bombs_leave_room() {
        let budget = Budget::new(256 << 20, 64 << 20);
        let mut leases: Vec<_> = (0..100).map(|peer| budget.lease(peer)).collect();
        let sizes = leases.iter_mut();
        let in_time = sizes.filter_map(|lease| lease.swell_to(4 << 20, 4 << 10).ok());
        assert_eq!(in_time.count(), 4);
        let mut usual = budget.lease(101);
        usual.swell_to(64 << 20, 1 << 20).expect("not swollen");
        usual.swell_to(512 << 10, 1).expect("small");
    }

    /// The buffer of a large bomb is with the system again before the next one is made.
    #[tokio::test(start_paused = true)]
    async fn bombs_follow_each_other_slowly() {
        let budget = Budget::new(256 << 20, 64 << 20);
        let mut first = budget.lease(1);
        first.swell_to(SWOLLEN_LIMIT, 64 << 10).expect("alone");
        drop(first);
        let mut next = budget.lease(2);
        assert!(matches!(next.swell_to(2 << 20, 1), Err(RequestError::Busy)));
        tokio::time::advance(SETTLING).await;
        next.swell_to(SWOLLEN_LIMIT, 64 << 10).expect("alone again");
    }
}
