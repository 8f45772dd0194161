//! The ways to the shards: the rule by which batches are dealt out, and the places that a batch
//! takes in its shards' inputs.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use spandrel_wire::Invalid;
use tokio::sync::{OwnedRwLockReadGuard, RwLock, RwLockReadGuard, RwLockWriteGuard, mpsc, oneshot};

use crate::batch::Batch;
use crate::egress::ReservedBatch;
use crate::refused::{BatchRefusal, Refused};
use crate::shard::{Job, Task};
use crate::stage::Dispatch;

/// The way into a shard's input.
pub(crate) type ShardSender = mpsc::Sender<Task>;

/// A place in a shard's input.
pub(crate) type ShardPermit = mpsc::OwnedPermit<Task>;

/// The answer of one shard about a batch, or about its part of the batch.
pub(super) type ShardAnswer = oneshot::Receiver<Result<(), BatchRefusal>>;

/// The ways to the shards, and the dispatch rule.
#[derive(Debug, Default)]
pub(crate) struct Routing {
    /// Empty if there are no stages, and once the pipeline drains.
    shards: Vec<ShardSender>,
    dispatch: Dispatch,
    /// True if the shards are told to end: there is no way in.
    released: bool,
}

impl Routing {
    pub(crate) fn new(shards: Vec<ShardSender>, dispatch: Dispatch) -> Self {
        Self {
            shards,
            dispatch,
            released: false,
        }
    }

    /// Makes a routing without a way in.
    fn released() -> Self {
        Self {
            released: true,
            ..Self::default()
        }
    }

    pub(crate) fn set_dispatch(&mut self, dispatch: Dispatch) {
        self.dispatch = dispatch;
    }

    /// Returns copies of both, to be kept for a while.
    pub(crate) fn parts(&self) -> (Vec<ShardSender>, Dispatch) {
        (self.shards.clone(), self.dispatch)
    }
}

/// The place of a batch in the input of each of its shards.
#[derive(Debug)]
enum ShardPermits {
    /// There are no stages: the batch goes straight to the exporters.
    None,
    One(ShardPermit),
    /// The batch is cut by trace: each part with the number of its items.
    Many(Vec<(ShardPermit, Bytes, u64)>),
}

/// The way of one batch into its shards. The dispatch rule does not change before the batch has
/// gone it.
#[derive(Debug)]
pub(super) struct Route {
    permits: ShardPermits,
    _routing: OwnedRwLockReadGuard<Routing>,
}

impl Route {
    /// Sends the batch for which this way was found. Returns the answers that its shards will give.
    pub(super) fn send(self, reserved: ReservedBatch) -> Vec<ShardAnswer> {
        match self.permits {
            ShardPermits::None => {
                reserved.permits.forward(reserved.batch);
                Vec::new()
            }
            ShardPermits::One(shard) => vec![send(shard, reserved)],
            ShardPermits::Many(parts) => {
                let ReservedBatch { batch, permits } = reserved;
                let Batch { mut tally, .. } = batch;
                let part = |(shard, bytes, items)| {
                    let tally = tally.split(items);
                    let part = ReservedBatch {
                        batch: Batch { bytes, tally },
                        permits: permits.clone(),
                    };
                    send(shard, part)
                };
                parts.into_iter().map(part).collect()
            }
        }
    }
}

fn send(shard: ShardPermit, reserved: ReservedBatch) -> ShardAnswer {
    let (answer, answered) = oneshot::channel();
    shard.send(Task::Batch(Job { reserved, answer }));
    answered
}

/// Finds the way of each batch into its shards.
#[derive(Debug)]
pub(super) struct Router {
    routing: Arc<RwLock<Routing>>,
    /// The shard whose turn it is.
    next: AtomicUsize,
}

impl Router {
    pub(super) fn new(routing: Routing) -> Self {
        Self {
            routing: Arc::new(RwLock::new(routing)),
            next: AtomicUsize::new(0),
        }
    }

    /// Returns how batches are dealt out now.
    pub(super) async fn routing(&self) -> RwLockReadGuard<'_, Routing> {
        self.routing.read().await
    }

    /// Waits until every batch that was dealt out by the present rule is in its shard's input, and
    /// keeps others out until the rule is changed.
    pub(super) async fn reroute(&self) -> RwLockWriteGuard<'_, Routing> {
        self.routing.write().await
    }

    /// Releases the senders to the shards.
    pub(super) async fn release(&self) {
        *self.reroute().await = Routing::released();
    }

    /// Returns the number of shards, unless that is being changed.
    pub(super) fn shards(&self) -> Option<usize> {
        let routing = self.routing.try_read().ok()?;
        Some(routing.shards.len())
    }

    /// Takes a place for a batch in the input of each of its shards; waits for it in turn. The
    /// caller bounds the wait.
    pub(super) async fn route(&self, batch: &Batch) -> Result<Route, Refused> {
        let routing = Arc::clone(&self.routing).read_owned().await;
        let permits = self.permits(&routing, batch).await?;
        Ok(Route {
            permits,
            _routing: routing,
        })
    }

    /// Does the same for a batch whose sender has its OK: it is not refused because it cannot be
    /// cut, but goes to any shard then.
    pub(super) async fn route_accepted(&self, batch: &Batch) -> Result<Route, Refused> {
        let routing = Arc::clone(&self.routing).read_owned().await;
        if routing.released {
            return Err(Refused::Draining);
        }
        let permits = match self.permits(&routing, batch).await {
            Err(Refused::Invalid(_)) => self.any(&routing.shards).await?,
            permits => permits?,
        };
        Ok(Route {
            permits,
            _routing: routing,
        })
    }

    async fn permits(&self, routing: &Routing, batch: &Batch) -> Result<ShardPermits, Refused> {
        let dispatch = if routing.shards.len() < 2 {
            Dispatch::Single
        } else {
            routing.dispatch
        };
        match (routing.shards.as_slice(), dispatch) {
            ([], _) => Ok(ShardPermits::None),
            ([first, ..], Dispatch::Single) => Ok(ShardPermits::One(place(first).await?)),
            (all, Dispatch::Any) => self.any(all).await,
            (all, Dispatch::ByTrace) => by_trace(all, batch).await,
        }
    }

    /// Takes a place in the next shard in turn that has one free; if none has, waits for the next
    /// in turn.
    async fn any(&self, shards: &[ShardSender]) -> Result<ShardPermits, Refused> {
        let turn = self.next.fetch_add(1, Ordering::Relaxed) % shards.len().max(1);
        let (before, after) = shards.split_at(turn.min(shards.len()));
        let in_turn = || after.iter().chain(before);
        if let Some(free) = in_turn().find_map(|shard| shard.clone().try_reserve_owned().ok()) {
            return Ok(ShardPermits::One(free));
        }
        match in_turn().next() {
            Some(shard) => Ok(ShardPermits::One(place(shard).await?)),
            None => Err(Refused::Draining),
        }
    }
}

/// Takes a place in a shard's input; waits for it in turn.
async fn place(shard: &ShardSender) -> Result<ShardPermit, Refused> {
    let place = shard.clone().reserve_owned().await;
    place.map_err(|_closed| Refused::Draining)
}

/// Cuts a batch by trace id, and takes a place in the input of each shard that gets a part.
async fn by_trace(shards: &[ShardSender], batch: &Batch) -> Result<ShardPermits, Refused> {
    if let Some(index) = spandrel_wire::single_trace_part(&batch.bytes, shards.len()) {
        let shard = shards.get(index).ok_or(Refused::Draining)?;
        return Ok(ShardPermits::One(place(shard).await?));
    }
    let parts = spandrel_wire::split_by_trace(&batch.bytes, shards.len());
    let too_large = Invalid::OverLimit {
        what: "copies of a resource's bytes",
        limit: batch.bytes.len(),
    };
    let parts = parts.ok_or(Refused::Invalid(too_large))?;
    let mut permits = Vec::with_capacity(parts.len());
    for part in parts {
        let shard = shards.get(part.shard).ok_or(Refused::Draining)?;
        permits.push((
            place(shard).await?,
            Bytes::from(part.bytes),
            part.items as u64,
        ));
    }
    Ok(ShardPermits::Many(permits))
}
