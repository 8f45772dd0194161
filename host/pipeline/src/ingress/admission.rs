//! The door of one pipeline: admission.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use spandrel_wire::{Limits, Signal};
use tokio::sync::{OwnedRwLockReadGuard, RwLock, RwLockReadGuard, RwLockWriteGuard, watch};

use super::Routing;
use super::arrived::Arrived;
use super::feeder::Feed;
use super::lanes::Lanes;
use super::pressure::{Gate, Pressure};
use crate::batch::Batch;
use crate::egress::{Egress, Permits, Room};
use crate::ledger::{Full, Ledger, Tally};
use crate::overflow::Overflow;
use crate::pipeline::AckOn;
use crate::refused::Refused;
use crate::shard::INPUT_BATCHES;

/// The time that a sender waits for a busy shard before it is told to come back: long enough for a
/// burst to pass, far inside the 5 s that a dying application has to flush.
pub(super) const SHARD_WAIT: Duration = Duration::from_secs(1);
/// The number of requests for each shard that are worth having at the door at a time: one that it
/// runs, one in its input, and one that is validated meanwhile. Further senders wait behind these.
const PLACES_OF_A_SHARD: usize = 3;

/// The number of requests that are worth having at the door of a durable pipeline at a time: one
/// sync of the disk (5 ms or so) covers all of them, which is more than the stages behind it can
/// take.
const DURABLE_PLACES: usize = 128;

/// The settings of a door.
pub(crate) struct DoorConfig {
    pub signal: Signal,
    pub limits: Limits,
    pub ack_on: AckOn,
}

/// The door of one pipeline, which admits requests.
pub(crate) struct Door {
    pub(super) config: DoorConfig,
    ledger: Arc<Ledger>,
    pub(super) egress: Arc<Egress>,
    pub(super) routing: Arc<RwLock<Routing>>,
    /// The shard whose turn it is.
    pub(super) next: AtomicUsize,
    pub(super) draining: watch::Sender<bool>,
    pressure: Pressure,
    overflow: Overflow,
    /// True if a sender waited for a shard in vain, and nobody found a place since.
    is_behind: AtomicBool,
    /// The way into the journal, in a durable pipeline.
    feed: Option<Feed>,
}

impl std::fmt::Debug for Door {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Door")
            .field("pipeline", &self.ledger.pipeline())
            .finish_non_exhaustive()
    }
}

/// A valid request that has room behind the stages. If it is dropped as it is, its items count as
/// refused.
#[derive(Debug)]
pub(super) struct Reserved {
    pub(super) batch: Batch,
    pub(super) permits: Permits,
}

/// A valid request that has room: letting it in cannot fail for either reason. If it is dropped as
/// it is, its items count as refused.
#[derive(Debug)]
pub(super) struct Admitted {
    pub(super) batch: Batch,
    pub(super) permits: Permits,
    pub(super) lanes: Lanes,
    /// A read lock that keeps the dispatch rule unchanged until this batch is in.
    pub(super) _routing: OwnedRwLockReadGuard<Routing>,
}

/// The reason why a request is not in, yet.
#[derive(Debug)]
pub(super) enum Out {
    /// There is no room for it.
    Full(Batch, Full),
    /// The pipeline takes nothing any more. Another pipeline may come in its place.
    Closed(Batch),
    /// The sender is to be told.
    Refused(Refused),
}

/// The same as [`Out`], without the batch.
enum Denied {
    Full(Full),
    Refused(Refused),
}

impl From<Refused> for Denied {
    fn from(refused: Refused) -> Self {
        Self::Refused(refused)
    }
}

impl Denied {
    fn with(self, batch: Batch) -> Out {
        match self {
            Self::Full(full) => Out::Full(batch, full),
            Self::Refused(Refused::Draining) => Out::Closed(batch),
            Self::Refused(refused) => Out::Refused(refused),
        }
    }
}

impl Door {
    pub(crate) fn new(
        config: DoorConfig,
        ledger: Arc<Ledger>,
        egress: Arc<Egress>,
        routing: Routing,
        feed: Option<Feed>,
    ) -> Self {
        let (draining, _) = watch::channel(false);
        Self {
            overflow: Overflow::of_pipeline(Arc::clone(&ledger)),
            is_behind: AtomicBool::new(false),
            config,
            ledger,
            egress,
            routing: Arc::new(RwLock::new(routing)),
            next: AtomicUsize::new(0),
            draining,
            pressure: Pressure::default(),
            feed,
        }
    }

    pub(crate) fn ledger(&self) -> &Arc<Ledger> {
        &self.ledger
    }

    /// Refuses everything from now on. Senders that wait for room are told at once.
    pub(crate) fn close(&self) {
        self.draining.send_replace(true);
    }

    /// Resolves when everything is refused.
    pub(crate) async fn closed(&self) {
        // This cannot fail: the sender of the channel is `self`.
        drop(
            self.draining
                .subscribe()
                .wait_for(|draining| *draining)
                .await,
        );
    }

    pub(super) fn draining(&self) -> watch::Receiver<bool> {
        self.draining.subscribe()
    }

    pub(crate) fn gate(&self) -> &Arc<Gate> {
        &self.pressure.gate
    }

    /// Returns the way into the journal.
    pub(super) fn feed(&self) -> Option<&Feed> {
        self.feed.as_ref()
    }

    pub(crate) fn egress(&self) -> &Arc<Egress> {
        &self.egress
    }

    /// Counts a refusal, and returns the hint to its sender.
    pub(super) fn retry_after(&self) -> Duration {
        self.pressure.refuse()
    }

    /// Counts a request that was let in, so that refusals count for less.
    pub(super) fn count_accepted(&self) {
        self.pressure.accepted();
    }

    /// Returns the refusal for lack of room: its sender comes back later.
    pub(super) fn full(&self) -> Refused {
        Refused::Full {
            retry_after: self.retry_after(),
        }
    }

    /// Returns true if everything is refused.
    pub(crate) fn is_closed(&self) -> bool {
        *self.draining.borrow()
    }

    /// Releases the door's senders to the shards. The shards' inputs close once the last request
    /// has its answer.
    pub(crate) async fn release_shards(&self) {
        *self.reroute().await = Routing::released();
    }

    /// Returns how batches are dealt out now.
    pub(crate) async fn routing(&self) -> RwLockReadGuard<'_, Routing> {
        self.routing.read().await
    }

    /// Waits until every batch that was dealt out by the present rule is in its shard's input, and
    /// keeps others out until the rule is changed.
    pub(crate) async fn reroute(&self) -> RwLockWriteGuard<'_, Routing> {
        self.routing.write().await
    }

    pub(super) fn limits(&self) -> &Limits {
        &self.config.limits
    }

    /// Returns the number of requests that are worth offering at a time. Any number if senders wait
    /// for something other than a shard.
    pub(super) fn places(&self) -> usize {
        self.places_at(PLACES_OF_A_SHARD)
    }

    /// Returns the same number for a pipeline beside others. It is larger, so that a shard that is
    /// stuck, with its input full, leaves places for the others' requests.
    pub(super) fn places_beside(&self) -> usize {
        self.places_at(PLACES_OF_A_SHARD + INPUT_BATCHES)
    }

    fn places_at(&self, of_a_shard: usize) -> usize {
        if self.feed.is_some() {
            return DURABLE_PLACES;
        }
        let Ok(routing) = self.routing.try_read() else {
            return usize::MAX;
        };
        let waits_elsewhere = self.config.ack_on == AckOn::Export || self.egress.makes_wait();
        if waits_elsewhere || routing.lanes().is_empty() {
            return usize::MAX;
        }
        routing.lanes().len() * of_a_shard
    }

    pub(super) fn signal(&self) -> Signal {
        self.config.signal
    }

    /// Books a request that is not valid, and so has no items.
    pub(super) fn count_invalid(&self) {
        self.ledger.post(|books| books.invalid_requests += 1);
    }

    /// Books the request of a sender: whatever becomes of it, it is in the books.
    pub(super) fn receive(&self, arrived: &Arrived) -> Batch {
        self.ledger.refuse(arrived.invalid);
        Batch {
            bytes: arrived.request.clone(),
            tally: self.ledger.receive(arrived.items),
        }
    }

    /// Returns an error if nothing may come in now, regardless of the room.
    pub(super) fn shut(&self) -> Result<(), Refused> {
        if let Some(retry_after) = self.pressure.gate.retry_after() {
            return Err(Refused::Full { retry_after });
        }
        match self.feed() {
            Some(feed) if feed.is_full() => Err(self.full()),
            _ => Ok(()),
        }
    }

    /// Returns true if a batch that finds no room here is refused to its sender, even when other
    /// pipelines take it: there is a journal, the sender waits for the export, or an exporter says
    /// so.
    pub(super) fn must_not_lose(&self) -> bool {
        self.feed.is_some() || self.egress.must_not_lose()
    }

    /// Drops for this pipeline what other pipelines took.
    pub(super) fn drop_alone(&self, tally: Tally, full: Full) {
        self.overflow.drop_tally(tally, full);
    }

    /// Finds room for a valid request behind the stages.
    pub(super) async fn reserve(&self, batch: Batch) -> Result<Reserved, Out> {
        let permits = self.permits(batch.items(), batch.bytes.len());
        match self.unless_draining(permits).await {
            Ok(permits) => Ok(Reserved { batch, permits }),
            Err(denied) => Err(denied.with(batch)),
        }
    }

    /// Finds a place for it in the input of its shards.
    pub(super) async fn admit(&self, reserved: Reserved) -> Result<Admitted, Out> {
        self.admit_unless(reserved, std::future::pending()).await
    }

    /// Does the same as [`Door::admit`]. If a shard is known to be stuck, it waits no longer than
    /// until the batch is `elsewhere`: the other pipelines' batches must not slow down to the pace
    /// of this one.
    pub(super) async fn admit_unless(
        &self,
        reserved: Reserved,
        elsewhere: impl Future<Output = ()>,
    ) -> Result<Admitted, Out> {
        let Reserved { batch, permits } = reserved;
        let way = async {
            let routing = Arc::clone(&self.routing).read_owned().await;
            let lanes = self.lanes(&routing, &batch).await;
            Ok((lanes.map_err(Denied::Refused)?, routing))
        };
        let way = async {
            let is_behind = self.is_behind.load(Ordering::Relaxed);
            let in_time = tokio::time::timeout(SHARD_WAIT, way);
            tokio::select! {
                biased;
                way = in_time => {
                    let way = way.unwrap_or(Err(Denied::Full(Full::Shards)));
                    self.is_behind.store(matches!(way, Err(Denied::Full(_))), Ordering::Relaxed);
                    way
                }
                () = elsewhere, if is_behind => Err(Denied::Full(Full::Shards)),
            }
        };
        match self.unless_draining(way).await {
            Ok((lanes, routing)) => {
                self.overflow.has_room();
                Ok(Admitted {
                    batch,
                    permits,
                    lanes,
                    _routing: routing,
                })
            }
            // Meanwhile, the door may have become one that must not lose the batch.
            Err(Denied::Full(_)) if self.must_not_lose() => Err(Out::Refused(self.full())),
            Err(denied) => Err(denied.with(batch)),
        }
    }

    /// Waits for `wait`, unless everything is refused or comes to be.
    pub(super) async fn unless_draining<T, E: From<Refused>>(
        &self,
        wait: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E> {
        let mut draining = self.draining.subscribe();
        if *draining.borrow() {
            return Err(Refused::Draining.into());
        }
        tokio::select! {
            done = wait => done,
            _ = draining.wait_for(|draining| *draining) => Err(Refused::Draining.into()),
        }
    }

    async fn permits(&self, items: u64, bytes: usize) -> Result<Permits, Denied> {
        let room = match self.egress.try_reserve(items, bytes) {
            Room::Wait => self.egress.wait_for_room(items, bytes).await,
            room => room,
        };
        match room {
            Room::Taken(permits) => Ok(permits),
            Room::Full => Err(Denied::Full(Full::Queues)),
            Room::Wait | Room::Refused => Err(Denied::Refused(self.full())),
        }
    }
}
