//! The door of one pipeline: admission, the way to the shards, and the answer to the sender.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use spandrel_wire::{Invalid, Limits, Signal, Summary};
use tokio::sync::{
    OwnedRwLockReadGuard, RwLock, RwLockReadGuard, RwLockWriteGuard, mpsc, oneshot, watch,
};

use super::{LanePermit, Routing};
use crate::batch::Batch;
use crate::completion::{Completed, Guard};
use crate::egress::{Egress, Permits, Room};
use crate::ledger::{Account, Ledger};
use crate::pipeline::AckOn;
use crate::refused::Refused;
use crate::shard::{Job, Task};
use crate::stage::Dispatch;

/// How long a sender waits for a shard that is busy, before it is told to come back: long enough
/// for a burst to pass, far inside the 5 s that a dying application has to flush.
const SHARD_WAIT: Duration = Duration::from_secs(1);
/// How long a sender waits for room in a queue with `block_on_overflow`: most SDKs give up on their
/// own after 10 s, and none waits for longer than 30.
const OVERFLOW_WAIT: Duration = Duration::from_secs(30);
/// The hint to senders that were refused for lack of room.
const RETRY_AFTER: Duration = Duration::from_secs(1);

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
    batch: Batch,
    permits: Permits,
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

/// The way of a batch to its shards, with a place in each one's input.
#[derive(Debug)]
enum Lanes {
    /// No stages: straight to the exporters.
    None,
    One(LanePermit),
    /// By trace: each part with its items.
    Many(Vec<(LanePermit, Bytes, u64)>),
}

impl Door {
    pub(crate) fn new(
        config: DoorConfig,
        ledger: Arc<Ledger>,
        egress: Arc<Egress>,
        routing: Routing,
    ) -> Self {
        let (draining, _) = watch::channel(false);
        Self {
            config,
            ledger,
            egress,
            routing: Arc::new(RwLock::new(routing)),
            next: AtomicUsize::new(0),
            draining,
        }
    }

    pub(crate) fn ledger(&self) -> &Arc<Ledger> {
        &self.ledger
    }

    /// From now on everything is refused, and who waits for room is told so at once.
    pub(crate) fn close(&self) {
        self.draining.send_replace(true);
    }

    /// Whether everything is refused.
    pub(crate) fn is_closed(&self) -> bool {
        *self.draining.borrow()
    }

    /// Lets go of the ways to the shards: their inputs close once the last sender is answered.
    pub(crate) async fn release_shards(&self) {
        *self.reroute().await = Routing::default();
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

    pub(super) fn signal(&self) -> Signal {
        self.config.signal
    }

    /// Books a request that is not valid, and so has no items.
    pub(super) fn count_invalid(&self) {
        self.ledger.post(|books| books.invalid_requests += 1);
    }

    /// Finds room for a valid request in every queue.
    pub(super) async fn reserve(
        &self,
        request: Bytes,
        summary: &Summary,
    ) -> Result<Reserved, Refused> {
        let items = summary.items as u64;
        let batch = Batch {
            bytes: request,
            tally: self.ledger.receive(items),
        };
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
            way.unwrap_or(Err(Refused::Full {
                retry_after: RETRY_AFTER,
            }))
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
    async fn unless_draining<T>(
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
        permits.ok_or(Refused::Full {
            retry_after: RETRY_AFTER,
        })
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

/// A place in a shard's input, waited for in turn. The caller bounds the wait.
async fn place(shard: mpsc::Sender<Task>) -> Result<LanePermit, Refused> {
    shard
        .reserve_owned()
        .await
        .map_err(|_closed| Refused::Draining)
}

/// Cuts a batch by trace id, with a place in the input of each shard that gets a part.
async fn by_trace(shards: &[mpsc::Sender<Task>], batch: &Batch) -> Result<Lanes, Refused> {
    if let Some(index) = spandrel_wire::single_trace_part(&batch.bytes, shards.len()) {
        let shard = shards.get(index).ok_or(Refused::Draining)?;
        return Ok(Lanes::One(place(shard.clone()).await?));
    }
    let parts = spandrel_wire::split_by_trace(&batch.bytes, shards.len());
    let too_large = Invalid::OverLimit {
        what: "copies of a resource's bytes",
        limit: batch.bytes.len(),
    };
    let parts = parts.ok_or(Refused::Invalid(too_large))?;
    let mut lanes = Vec::with_capacity(parts.len());
    for part in parts {
        let shard = shards.get(part.shard).ok_or(Refused::Draining)?;
        lanes.push((
            place(shard.clone()).await?,
            Bytes::from(part.bytes),
            part.items as u64,
        ));
    }
    Ok(Lanes::Many(lanes))
}

fn send(
    lane: LanePermit,
    batch: Batch,
    permits: Permits,
) -> oneshot::Receiver<Result<(), Refused>> {
    let (answer, answered) = oneshot::channel();
    lane.send(Task::Batch(Job {
        batch,
        permits,
        answer,
    }));
    answered
}

/// What a sender waits for.
#[derive(Debug)]
pub(super) struct Answer {
    parts: Vec<oneshot::Receiver<Result<(), Refused>>>,
    completed: Option<oneshot::Receiver<Completed>>,
    draining: watch::Receiver<bool>,
}

/// No sender waits longer for its answer: SDKs give up after 10 s, and a retry of what was accepted
/// all the same is a duplicate, which OTLP allows.
const ANSWER_WAIT: Duration = Duration::from_secs(30);
/// How long once a drain has begun: an application that dies in the same minute has 5 s to flush.
const DRAINING_ANSWER_WAIT: Duration = Duration::from_secs(3);

impl Answer {
    /// The first refusal of any part, or `Ok`. Parts that were not refused stay accepted: a sender
    /// that retries sends them twice, which OTLP allows and a deduplicating plugin mends.
    pub(super) async fn wait(self) -> Result<(), Refused> {
        let Self {
            parts,
            completed,
            mut draining,
        } = self;
        let ended = async {
            let answers = join_all(parts).await;
            // A shard that ended without an answer was cut off at the drain's deadline.
            answers
                .into_iter()
                .try_for_each(|answer| answer.unwrap_or(Err(Refused::Draining)))?;
            match completed {
                None => Ok(()),
                Some(completed) => match completed.await {
                    Ok(Completed::Done) => Ok(()),
                    Ok(Completed::Rejected) => Err(Refused::Rejected),
                    Ok(Completed::Failed) | Err(_) => Err(Refused::Full {
                        retry_after: RETRY_AFTER,
                    }),
                },
            }
        };
        let drained = async {
            drop(draining.wait_for(|draining| *draining).await);
            tokio::time::sleep(DRAINING_ANSWER_WAIT).await;
        };
        tokio::select! {
            biased;
            ended = ended => ended,
            () = drained => Err(Refused::Draining),
            () = tokio::time::sleep(ANSWER_WAIT) => Err(Refused::Full { retry_after: RETRY_AFTER }),
        }
    }
}
