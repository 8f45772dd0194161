//! The door of one pipeline: admission, the way to the shards, and the answer to the sender.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use spandrel_wire::{Limits, Signal};
use tokio::sync::{
    MutexGuard, OwnedRwLockReadGuard, RwLock, RwLockReadGuard, RwLockWriteGuard, mpsc, watch,
};

use super::arrived::Arrived;
use super::feeder::Feed;
use super::lanes::{Lanes, by_trace, place, send};
use super::pressure::{Gate, Pressure};
use super::{Answer, Routing};
use crate::batch::Batch;
use crate::completion::Guard;
use crate::egress::{Egress, Permits, Room};
use crate::ledger::{Account, Ledger};
use crate::pipeline::AckOn;
use crate::refused::Refused;
use crate::shard::Task;
use crate::stage::Dispatch;

/// How long a sender waits for a shard that is busy, before it is told to come back: long enough
/// for a burst to pass, far inside the 5 s that a dying application has to flush.
pub(super) const SHARD_WAIT: Duration = Duration::from_secs(1);
/// How long a sender waits for room in a queue with `block_on_overflow`: most SDKs give up on their
/// own after 10 s, and none waits for longer than 30.
const OVERFLOW_WAIT: Duration = Duration::from_secs(30);
/// Requests that are of use at a time at the door for each shard: one that it runs, one in its input,
/// and one that is validated meanwhile. Who comes to the door waits behind these.
const PLACES_OF_A_SHARD: usize = 3;

/// Requests that are of use at a time at the door of a durable pipeline: one sync of the disk (5 ms or
/// so) covers all of them, which is more than the stages behind it can take.
const DURABLE_PLACES: usize = 128;

/// What a door is made of.
pub(crate) struct DoorConfig {
    pub signal: Signal,
    pub limits: Limits,
    pub ack_on: AckOn,
}

/// See the module.
pub(crate) struct Door {
    config: DoorConfig,
    ledger: Arc<Ledger>,
    egress: Arc<Egress>,
    routing: Arc<RwLock<Routing>>,
    next: AtomicUsize,
    draining: watch::Sender<bool>,
    pressure: Pressure,
    /// The way into the journal, in a durable pipeline.
    feed: Option<Feed>,
    /// Held by who waits for places in the shards, in a durable pipeline: what comes in and what
    /// comes again take turns.
    turn: tokio::sync::Mutex<()>,
}

impl std::fmt::Debug for Door {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Door")
            .field("pipeline", &self.ledger.pipeline())
            .finish_non_exhaustive()
    }
}

/// A request that is valid and for which there is room in every queue. Dropped as it is, its items
/// count as refused.
#[derive(Debug)]
pub(super) struct Reserved {
    pub(super) batch: Batch,
    pub(super) permits: Permits,
}

/// A request that is valid and for which there is room: letting it in cannot fail for lack of
/// either. Dropped as it is, its items count as refused.
#[derive(Debug)]
pub(super) struct Admitted {
    batch: Batch,
    permits: Permits,
    lanes: Lanes,
    /// Nobody changes how batches are dealt out until this one is in.
    _routing: OwnedRwLockReadGuard<Routing>,
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
            config,
            ledger,
            egress,
            routing: Arc::new(RwLock::new(routing)),
            next: AtomicUsize::new(0),
            draining,
            pressure: Pressure::default(),
            feed,
            turn: tokio::sync::Mutex::default(),
        }
    }

    pub(crate) fn ledger(&self) -> &Arc<Ledger> {
        &self.ledger
    }

    /// From now on everything is refused, and who waits for room is told so at once.
    pub(crate) fn close(&self) {
        self.draining.send_replace(true);
    }

    /// Resolves when everything is refused.
    pub(crate) async fn closed(&self) {
        // The sender of this is `self`.
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

    /// The way into the journal.
    pub(super) fn feed(&self) -> Option<&Feed> {
        self.feed.as_ref()
    }

    pub(crate) fn egress(&self) -> &Arc<Egress> {
        &self.egress
    }

    /// The hint to a sender that is refused now.
    pub(super) fn retry_after(&self) -> Duration {
        self.pressure.refuse()
    }

    /// A request was let in: those that are refused are few beside it.
    pub(super) fn count_accepted(&self) {
        self.pressure.accepted();
    }

    /// There is no room: its sender comes back later.
    pub(super) fn full(&self) -> Refused {
        Refused::Full {
            retry_after: self.retry_after(),
        }
    }

    /// Whether everything is refused.
    pub(crate) fn is_closed(&self) -> bool {
        *self.draining.borrow()
    }

    /// Lets go of the ways to the shards: their inputs close once the last sender is answered.
    pub(crate) async fn release_shards(&self) {
        *self.reroute().await = Routing::released();
    }

    /// How batches are dealt out now.
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

    /// How many requests it is of use to offer at a time. Any number where it is not a shard that senders
    /// wait for.
    pub(super) fn places(&self) -> usize {
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
        routing.lanes().len() * PLACES_OF_A_SHARD
    }

    pub(super) fn signal(&self) -> Signal {
        self.config.signal
    }

    /// Books a request that is not valid, and so has no items.
    pub(super) fn count_invalid(&self) {
        self.ledger.post(|books| books.invalid_requests += 1);
    }

    /// Finds room for a valid request in every queue.
    pub(super) async fn reserve(&self, arrived: Arrived) -> Result<Reserved, Refused> {
        let Arrived {
            request,
            items,
            invalid,
        } = arrived;
        self.ledger.refuse(invalid);
        let batch = Batch {
            bytes: request,
            tally: self.ledger.receive(items),
        };
        if let Some(retry_after) = self.pressure.gate.retry_after() {
            return Err(Refused::Full { retry_after });
        }
        if self.feed().is_some_and(Feed::is_full) {
            return Err(self.full());
        }
        let permits = self.permits(items, batch.bytes.len());
        let permits = self.unless_draining(permits).await?;
        Ok(Reserved { batch, permits })
    }

    /// Finds a place for it in the input of its shards.
    pub(super) async fn admit(&self, reserved: Reserved) -> Result<Admitted, Refused> {
        let Reserved { batch, permits } = reserved;
        let way = async {
            let routing = Arc::clone(&self.routing).read_owned().await;
            Ok((self.lanes(&routing, &batch).await?, routing))
        };
        let way = async {
            let way = tokio::time::timeout(SHARD_WAIT, way).await;
            way.unwrap_or_else(|_| Err(self.full()))
        };
        let (lanes, routing) = self.unless_draining(way).await?;
        Ok(Admitted {
            batch,
            permits,
            lanes,
            _routing: routing,
        })
    }

    /// Waits, unless everything is refused or comes to be.
    pub(super) async fn unless_draining<T>(
        &self,
        wait: impl Future<Output = Result<T, Refused>>,
    ) -> Result<T, Refused> {
        let mut draining = self.draining.subscribe();
        if *draining.borrow() {
            return Err(Refused::Draining);
        }
        tokio::select! {
            done = wait => done,
            _ = draining.wait_for(|draining| *draining) => Err(Refused::Draining),
        }
    }

    async fn permits(&self, items: u64, bytes: usize) -> Result<Permits, Refused> {
        let permits = match self.egress.try_reserve(items, bytes) {
            Room::Taken(permits) => Some(permits),
            Room::Wait => self.egress.wait_for_room(items, bytes, OVERFLOW_WAIT).await,
            Room::Full => None,
        };
        permits.ok_or_else(|| self.full())
    }

    async fn lanes(&self, routing: &Routing, batch: &Batch) -> Result<Lanes, Refused> {
        let shards = routing.lanes();
        let dispatch = if shards.len() < 2 {
            Dispatch::Single
        } else {
            routing.dispatch()
        };
        match (shards, dispatch) {
            ([], _) => Ok(Lanes::None),
            ([first, ..], Dispatch::Single) => Ok(Lanes::One(place(first.clone()).await?)),
            (all, Dispatch::Any) => self.any(all).await,
            (all, Dispatch::ByTrace) => by_trace(all, batch).await,
        }
    }

    /// The next shard in turn that has a place free, or the next in turn if none has.
    async fn any(&self, shards: &[mpsc::Sender<Task>]) -> Result<Lanes, Refused> {
        let turn = self.next.fetch_add(1, Ordering::Relaxed) % shards.len().max(1);
        let (before, after) = shards.split_at(turn.min(shards.len()));
        let in_turn = || after.iter().chain(before);
        if let Some(free) = in_turn().find_map(|shard| shard.clone().try_reserve_owned().ok()) {
            return Ok(Lanes::One(free));
        }
        match in_turn().next() {
            Some(shard) => Ok(Lanes::One(place(shard.clone()).await?)),
            None => Err(Refused::Draining),
        }
    }

    /// Lets a batch in that the journal has: waits until there is a place for it. Dropped on the way,
    /// it stays in the journal.
    pub(crate) async fn let_in(&self, batch: Batch, permits: Permits) -> Result<Answer, Refused> {
        let turn = self.turn.lock().await;
        self.let_in_by(&turn, batch, permits).await
    }

    /// Nothing that the journal has is let in while this is kept, but by whoever has it.
    pub(crate) async fn keep_out(&self) -> MutexGuard<'_, ()> {
        self.turn.lock().await
    }

    /// As [`Door::let_in`], for the one whose turn it is.
    pub(crate) async fn let_in_by(
        &self,
        _turn: &MutexGuard<'_, ()>,
        batch: Batch,
        permits: Permits,
    ) -> Result<Answer, Refused> {
        loop {
            let way = async {
                let routing = Arc::clone(&self.routing).read_owned().await;
                if routing.is_released() {
                    return Err(Refused::Draining);
                }
                let lanes = match self.lanes(&routing, &batch).await {
                    // It cannot be cut by trace, and its sender has its OK.
                    Err(Refused::Invalid(_)) => self.any(routing.lanes()).await?,
                    lanes => lanes?,
                };
                Ok((lanes, routing))
            };
            // Nobody changes how batches are dealt out meanwhile, so it is asked for anew.
            let Ok(way) = tokio::time::timeout(SHARD_WAIT, way).await else {
                continue;
            };
            let (lanes, routing) = way?;
            return Ok(self.enter(Admitted {
                batch,
                permits,
                lanes,
                _routing: routing,
            }));
        }
    }

    /// Lets an admitted request in. From the first line on, the items are the pipeline's.
    pub(super) fn enter(&self, admitted: Admitted) -> Answer {
        let Admitted {
            mut batch,
            permits,
            lanes,
            _routing: _until_it_is_in,
        } = admitted;
        let completed = (self.config.ack_on == AckOn::Export).then(|| {
            let (guard, completed) = Guard::new();
            batch.tally.guard(guard);
            completed
        });
        batch.tally.transfer(Account::Chain);
        let mut parts = Vec::new();
        match lanes {
            Lanes::None => self.egress.forward(batch, &permits),
            Lanes::One(lane) => parts.push(send(lane, batch, permits)),
            Lanes::Many(lanes) => {
                let Batch { mut tally, .. } = batch;
                let lane = |(lane, bytes, items)| {
                    send(
                        lane,
                        Batch {
                            bytes,
                            tally: tally.split(items),
                        },
                        permits.clone(),
                    )
                };
                parts = lanes.into_iter().map(lane).collect();
            }
        }
        Answer {
            parts,
            completed,
            draining: self.draining.subscribe(),
        }
    }
}
