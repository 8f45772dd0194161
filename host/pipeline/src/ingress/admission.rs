//! The admission of one pipeline: it lets a batch in once there is room for it behind the stages
//! and a place in front of them. It has the steps; [`Entry`](super::entry::Entry) takes them, and
//! decides over all pipelines behind a receiver.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use spandrel_wire::{Limits, Signal};
use tokio::sync::{RwLockReadGuard, RwLockWriteGuard, oneshot};
use tokio::time::timeout;

use super::answer::{self, Answer};
use super::drain_switch::DrainSwitch;
use super::gate::Gate;
use super::journal_feed::{AppendRequest, JournalFeed};
use super::pressure::Pressure;
use super::routing::{Route, Router, Routing};
use crate::batch::Batch;
use crate::completion::Guard;
use crate::egress::{Egress, Permits, Reservation, ReservedBatch};
use crate::ledger::{Account, FullPart, Ledger, Tally};
use crate::overflow::Overflow;
use crate::refused::Refused;
use crate::shard::INPUT_BATCHES;

/// The time that a sender waits for a busy shard before it is told to come back: long enough for a
/// burst to pass, far inside the 5 s that a dying application has to flush.
const SHARD_WAIT: Duration = Duration::from_secs(1);
/// The number of requests for each shard that are worth offering at a time: one that it runs, one
/// in its input, and one that is validated meanwhile. Further senders wait behind these.
const REQUESTS_OF_A_SHARD: usize = 3;

/// The number of requests that are worth offering to a durable pipeline at a time: one sync of the
/// disk (5 ms or so) covers all of them, which is more than the stages behind it can take.
const DURABLE_REQUESTS: usize = 128;

/// The moment when a sender gets its OK.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AckOn {
    /// Once the batch is through the stages and in the queues; held items count as in the queues.
    #[default]
    Queue,
    /// Once every exporter has it. Not for pipelines with a plugin that holds items.
    Export,
}

/// The settings of an admission.
pub(crate) struct AdmissionConfig {
    pub signal: Signal,
    pub limits: Limits,
    pub ack_on: AckOn,
}

/// The admission of one pipeline.
pub(crate) struct Admission {
    config: AdmissionConfig,
    ledger: Arc<Ledger>,
    egress: Arc<Egress>,
    router: Router,
    drain: DrainSwitch,
    pressure: Pressure,
    gate: Arc<Gate>,
    overflow: Overflow,
    /// True if the last wait for a shard timed out.
    is_behind: AtomicBool,
    /// The way to the journal, in a durable pipeline.
    feed: Option<JournalFeed>,
}

impl fmt::Debug for Admission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Admission")
            .field("pipeline", &self.ledger.pipeline())
            .finish_non_exhaustive()
    }
}

/// A batch that has room behind the stages, and a way into its shards: letting it in cannot fail
/// for either reason. If it is dropped as it is, its items count as refused.
#[derive(Debug)]
pub(super) struct AdmittedBatch {
    reserved: ReservedBatch,
    route: Route,
}

/// The reason why a request is not admitted.
#[derive(Debug)]
pub(super) enum Denial {
    /// There is no room for it.
    Full(Batch, FullPart),
    /// The pipeline takes nothing any more. Another pipeline may come in its place.
    Closed(Batch),
    /// The sender is to be told.
    Refused(Refused),
}

/// The same as [`Denial`], before the batch is given back.
enum DenialReason {
    Full(FullPart),
    Refused(Refused),
}

impl From<Refused> for DenialReason {
    fn from(refused: Refused) -> Self {
        Self::Refused(refused)
    }
}

impl DenialReason {
    fn with(self, batch: Batch) -> Denial {
        match self {
            Self::Full(full) => Denial::Full(batch, full),
            Self::Refused(Refused::Draining) => Denial::Closed(batch),
            Self::Refused(refused) => Denial::Refused(refused),
        }
    }
}

impl Admission {
    pub(crate) fn new(
        config: AdmissionConfig,
        ledger: Arc<Ledger>,
        egress: Arc<Egress>,
        routing: Routing,
        feed: Option<JournalFeed>,
    ) -> Self {
        Self {
            overflow: Overflow::of_pipeline(Arc::clone(&ledger)),
            is_behind: AtomicBool::new(false),
            config,
            ledger,
            egress,
            router: Router::new(routing),
            drain: DrainSwitch::new(),
            pressure: Pressure::default(),
            gate: Arc::default(),
            feed,
        }
    }

    pub(crate) fn ledger(&self) -> &Arc<Ledger> {
        &self.ledger
    }

    pub(crate) fn egress(&self) -> &Arc<Egress> {
        &self.egress
    }

    pub(crate) fn gate(&self) -> &Arc<Gate> {
        &self.gate
    }

    pub(super) fn limits(&self) -> &Limits {
        &self.config.limits
    }

    pub(super) fn signal(&self) -> Signal {
        self.config.signal
    }

    /// Refuses everything from now on. Senders that wait for room are told at once.
    pub(crate) fn close(&self) {
        self.drain.close();
    }

    /// Resolves when everything is refused.
    pub(crate) async fn closed(&self) {
        self.drain.closed().await;
    }

    /// Returns true if everything is refused.
    pub(crate) fn is_closed(&self) -> bool {
        self.drain.is_closed()
    }

    /// Releases the senders to the shards. The shards' inputs close once the last request has its
    /// answer.
    pub(crate) async fn release_shards(&self) {
        self.router.release().await;
    }

    /// Returns how batches are dealt out now.
    pub(crate) async fn routing(&self) -> RwLockReadGuard<'_, Routing> {
        self.router.routing().await
    }

    /// Waits until every batch that was dealt out by the present rule is in its shard's input, and
    /// keeps others out until the rule is changed.
    pub(crate) async fn reroute(&self) -> RwLockWriteGuard<'_, Routing> {
        self.router.reroute().await
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

    /// Returns the number of requests that are worth offering at a time. Any number if senders wait
    /// for something other than a shard.
    pub(super) fn concurrency_limit(&self) -> usize {
        self.limit_of(REQUESTS_OF_A_SHARD)
    }

    /// Returns the same number for a pipeline beside others. It is larger, so that a shard that is
    /// stuck, with its input full, leaves places for the others' requests.
    pub(super) fn concurrency_limit_beside(&self) -> usize {
        self.limit_of(REQUESTS_OF_A_SHARD + INPUT_BATCHES)
    }

    fn limit_of(&self, a_shard: usize) -> usize {
        if self.is_durable() {
            return DURABLE_REQUESTS;
        }
        let waits_elsewhere = self.config.ack_on == AckOn::Export || self.egress.makes_wait();
        match self.router.shards() {
            Some(shards) if shards > 0 && !waits_elsewhere => shards * a_shard,
            _ => usize::MAX,
        }
    }

    /// Returns true if requests go through a journal.
    pub(super) fn is_durable(&self) -> bool {
        self.feed.is_some()
    }

    /// Books a request that is not valid, and so has no items.
    pub(super) fn count_invalid(&self) {
        self.ledger.post(|books| books.invalid_requests += 1);
    }

    /// Books the request of a sender, without its `invalid` items: whatever becomes of it, it is in
    /// the books.
    pub(super) fn receive(&self, request: Bytes, items: u64, invalid: u64) -> Batch {
        self.ledger.refuse(invalid);
        Batch {
            bytes: request,
            tally: self.ledger.receive(items),
        }
    }

    /// Returns an error if nothing may come in now, regardless of the room.
    pub(super) fn check_open(&self) -> Result<(), Refused> {
        if let Some(retry_after) = self.gate.retry_after() {
            return Err(Refused::Full { retry_after });
        }
        match &self.feed {
            Some(feed) if feed.is_full() => Err(self.full()),
            _ => Ok(()),
        }
    }

    /// Returns true if a batch that finds no room here is refused to its sender, even when other
    /// pipelines take it: there is a journal, the sender waits for the export, or an exporter says
    /// so.
    pub(super) fn must_not_lose(&self) -> bool {
        self.is_durable() || self.egress.must_not_lose()
    }

    /// Drops for this pipeline what other pipelines took.
    pub(super) fn drop_alone(&self, tally: Tally, full: FullPart) {
        self.overflow.drop_tally(tally, full);
    }

    /// Finds room for a valid request behind the stages.
    pub(super) async fn reserve(&self, batch: Batch) -> Result<ReservedBatch, Denial> {
        let permits = self.permits(batch.items(), batch.bytes.len());
        match self.drain.unless_closed(permits).await {
            Ok(permits) => Ok(ReservedBatch { batch, permits }),
            Err(reason) => Err(reason.with(batch)),
        }
    }

    async fn permits(&self, items: u64, bytes: usize) -> Result<Permits, DenialReason> {
        let room = match self.egress.try_reserve(items, bytes) {
            Reservation::Wait => self.egress.wait_for_room(items, bytes).await,
            room => room,
        };
        match room {
            Reservation::Taken(permits) => Ok(permits),
            Reservation::Full => Err(DenialReason::Full(FullPart::Queues)),
            Reservation::Wait | Reservation::Refused => Err(DenialReason::Refused(self.full())),
        }
    }

    /// Finds a place for it in the input of its shards.
    pub(super) async fn admit(&self, reserved: ReservedBatch) -> Result<AdmittedBatch, Denial> {
        self.admit_unless(reserved, std::future::pending()).await
    }

    /// Does the same as [`Admission::admit`]. If a shard is known to be stuck, it waits no longer
    /// than until the batch is `elsewhere`: the other pipelines' batches must not slow down to the
    /// pace of this one.
    pub(super) async fn admit_unless(
        &self,
        reserved: ReservedBatch,
        elsewhere: impl Future<Output = ()>,
    ) -> Result<AdmittedBatch, Denial> {
        let route = async {
            let is_behind = self.is_behind.load(Ordering::Relaxed);
            let in_time = timeout(SHARD_WAIT, self.router.route(&reserved.batch));
            tokio::select! {
                biased;
                route = in_time => {
                    self.is_behind.store(route.is_err(), Ordering::Relaxed);
                    let late = |_| DenialReason::Full(FullPart::Shards);
                    route.map_err(late)?.map_err(DenialReason::Refused)
                }
                () = elsewhere, if is_behind => Err(DenialReason::Full(FullPart::Shards)),
            }
        };
        match self.drain.unless_closed(route).await {
            Ok(route) => {
                self.overflow.has_room();
                Ok(AdmittedBatch { reserved, route })
            }
            // Meanwhile, this may have become a pipeline that must not lose the batch.
            Err(DenialReason::Full(_)) if self.must_not_lose() => Err(Denial::Refused(self.full())),
            Err(reason) => Err(reason.with(reserved.batch)),
        }
    }

    /// Lets an admitted request in. From the first line on, the pipeline owns the items.
    pub(super) fn enter(&self, admitted: AdmittedBatch) -> Answer {
        let AdmittedBatch {
            mut reserved,
            route,
        } = admitted;
        let waits = reserved.permits.hold_answer();
        let tally = &mut reserved.batch.tally;
        let completed = (self.config.ack_on == AckOn::Export).then(|| {
            let (guard, completed) = Guard::new();
            tally.guard(guard);
            completed
        });
        tally.transfer(Account::Chain);
        Answer {
            parts: route.send(reserved),
            completed,
            waits,
            draining: self.drain.subscribe(),
        }
    }

    /// Lets a batch in that the journal has; waits until there is a place for it. If it is dropped
    /// on the way, it stays in the journal.
    pub(crate) async fn let_in(&self, reserved: ReservedBatch) -> Result<Answer, Refused> {
        loop {
            let route = self.router.route_accepted(&reserved.batch);
            // The routing cannot change while this waits, so the lock is released and taken anew.
            if let Ok(route) = timeout(SHARD_WAIT, route).await {
                let route = route?;
                return Ok(self.enter(AdmittedBatch { reserved, route }));
            }
        }
    }

    /// Journals a request. `Ok` means that it is durable; it goes on by itself.
    pub(super) async fn journal(&self, reserved: ReservedBatch) -> Result<(), Refused> {
        let Some(feed) = &self.feed else {
            return Err(Refused::Draining);
        };
        let place = async {
            let place = timeout(SHARD_WAIT, feed.reserve()).await;
            place.map_err(|_| self.full())?.ok_or(Refused::Draining)
        };
        let place = self.drain.unless_closed(place).await?;
        let (answer, answered) = oneshot::channel();
        place.send(AppendRequest { reserved, answer });
        let answered = async { answered.await.unwrap_or(Err(Refused::Draining)) };
        answer::within_limits(answered, self.drain.subscribe()).await
    }
}
