//! Room for a batch behind the last stage, taken before its first one: in the queue of every
//! exporter that must not lose it, and of at least one exporter.
//!
//! An exporter that may overflow alone does not keep out a batch that others take. If its queue has
//! no room, the batch waits in its waiting room, or is dropped for it, once it is through the
//! stages.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};

use super::exporters::{ExporterHandle, Exporters, QueuePlace};
use crate::batch::Batch;
use crate::ledger::Ledger;
use crate::queue::{AnswerHold, OVERFLOW_WAIT, Permit, RoomClass};

/// The result of looking for room for a sender's batch.
#[derive(Debug)]
pub(crate) enum Reservation {
    /// There is room, and it is taken.
    Taken(Permits),
    /// There is none now, and the exporters without room say that senders wait.
    Wait,
    /// There is none anywhere, and no exporter must have the batch: it may be lost in this pipeline
    /// alone.
    Full,
    /// There is none at an exporter that must not lose it: its sender is to be told.
    Refused,
}

/// A batch that has room behind the stages. If it is dropped before a stage has it, its tally books
/// it: as refused, or as journaled.
#[derive(Debug)]
pub(crate) struct ReservedBatch {
    pub batch: Batch,
    pub permits: Permits,
}

/// A place for one batch at every exporter, and so the batch's way out. While there are permits for
/// an exporter, its queue is open.
#[derive(Clone, Debug)]
pub(crate) struct Permits {
    exporters: Arc<Exporters>,
    places: Vec<QueuePlace>,
    until: Instant,
    hold: Option<AnswerHold>,
}

impl Permits {
    /// Returns a receiver that resolves when nothing of the batch waits for room any more, and the
    /// latest time for that; `None` if nothing will wait. Call it before parts are made.
    pub(crate) fn hold_answer(&mut self) -> Option<(oneshot::Receiver<()>, Instant)> {
        let mut places = self.places.iter();
        if !places.any(|place| matches!(place, QueuePlace::Waits(_))) {
            return None;
        }
        let (hold, released) = AnswerHold::new();
        self.hold = Some(hold);
        Some((released, self.until))
    }

    /// Moves a batch out of the chain to each exporter. A batch without items goes nowhere.
    pub(crate) fn forward(&self, batch: Batch) {
        if batch.items() == 0 {
            return;
        }
        let Batch { bytes, tally } = batch;
        let tallies = tally.forward(self.exporters.iter().map(ExporterHandle::column));
        let exporters = self.exporters.iter().zip(&self.places);
        for ((exporter, place), tally) in exporters.zip(tallies) {
            let batch = Batch {
                bytes: Bytes::clone(&bytes),
                tally,
            };
            exporter.put(batch, place, self.hold.as_ref());
        }
    }
}

/// The room that one batch needs.
#[derive(Clone, Copy, Debug)]
pub(super) struct RoomRequest {
    class: RoomClass,
    items: u64,
    bytes: usize,
    /// The time until which it may wait.
    until: Instant,
}

impl RoomRequest {
    pub(super) fn new(class: RoomClass, items: u64, bytes: usize) -> Self {
        let until = Instant::now() + OVERFLOW_WAIT;
        Self {
            class,
            items,
            bytes,
            until,
        }
    }

    fn try_at(&self, exporter: &ExporterHandle) -> Option<Permit> {
        exporter.try_reserve(self.class, self.items, self.bytes)
    }

    async fn wait_at(&self, exporter: &ExporterHandle) -> Option<Permit> {
        exporter.reserve(self.class, self.items, self.bytes).await
    }
}

/// The search for room for one batch at these exporters. If it is dropped, the room that it found is
/// given back.
pub(super) struct RoomSearch {
    exporters: Arc<Exporters>,
    request: RoomRequest,
    /// The room at each exporter, as far as it was found.
    room: Vec<Option<Permit>>,
}

impl RoomSearch {
    pub(super) fn new(exporters: Arc<Exporters>, request: RoomRequest) -> Self {
        Self {
            exporters,
            request,
            room: Vec::new(),
        }
    }

    /// Takes the room that there is now.
    pub(super) fn try_all(&mut self) {
        let exporters = self.exporters.iter();
        self.room = exporters
            .map(|exporter| self.request.try_at(exporter))
            .collect();
    }

    /// Waits for room at exporters that must not lose the batch, until its time is up; takes room
    /// at the others if they have any now. If none has any, waits for the first that has. Does not
    /// wait for a full queue without `block_on_overflow`.
    pub(super) async fn wait(&mut self) {
        let (exporters, request) = (Arc::clone(&self.exporters), self.request);
        for exporter in exporters.iter() {
            self.room.push(if exporter.refuses() && exporter.blocks() {
                let waited = timeout_at(request.until, request.wait_at(exporter)).await;
                waited.ok().flatten()
            } else {
                request.try_at(exporter)
            });
        }
        if self.has_some() || self.missing().any(ExporterHandle::refuses) {
            return;
        }
        let first = self.wait_for_one(ExporterHandle::blocks);
        drop(timeout_at(request.until, first).await);
    }

    /// Waits for room for a batch that was accepted before: at each exporter that must not lose it,
    /// and until at least one has room, for however long it takes. Returns `None` if a queue gives
    /// out no room any more.
    pub(super) async fn wait_accepted(&mut self) -> Option<()> {
        let (exporters, request) = (Arc::clone(&self.exporters), self.request);
        for exporter in exporters.iter() {
            self.room.push(if exporter.refuses() {
                Some(request.wait_at(exporter).await?)
            } else {
                request.try_at(exporter)
            });
        }
        if !self.is_enough() {
            self.wait_for_one(|_| true).await;
        }
        Some(())
    }

    /// Waits for room at the first of these that has any, and takes room at the others that have
    /// some then.
    async fn wait_for_one(&mut self, waits: impl Fn(&ExporterHandle) -> bool) {
        let (exporters, request) = (Arc::clone(&self.exporters), self.request);
        let waiting = exporters.iter().enumerate();
        let waiting = waiting.filter(|(_, exporter)| waits(exporter));
        let mut waiting: FuturesUnordered<_> = waiting
            .map(|(index, exporter)| async move { (index, request.wait_at(exporter).await) })
            .collect();
        let Some((first, permit)) = waiting.next().await else {
            return;
        };
        drop(waiting);
        for (index, (room, exporter)) in self.room.iter_mut().zip(exporters.iter()).enumerate() {
            if index != first && room.is_none() {
                *room = request.try_at(exporter);
            }
        }
        if let Some(place) = self.room.get_mut(first) {
            *place = permit;
        }
    }

    fn has_some(&self) -> bool {
        self.room.iter().any(Option::is_some)
    }

    /// Returns true if the batch can be let in with this room: each exporter that must not lose it
    /// has room, and at least one has.
    fn is_enough(&self) -> bool {
        let has_some = self.has_some() || self.room.is_empty();
        has_some && self.missing().all(|exporter| !exporter.refuses())
    }

    /// Returns the exporters without room.
    fn missing(&self) -> impl Iterator<Item = &ExporterHandle> {
        let exporters = self.room.iter().zip(self.exporters.iter());
        exporters.filter_map(|(room, exporter)| room.is_none().then_some(exporter))
    }

    /// Returns true if the exporters without room say that senders wait.
    fn is_worth_a_wait(&self) -> bool {
        let mut strict = self.missing().filter(|exporter| exporter.refuses());
        match strict.next() {
            Some(first) => first.blocks() && strict.all(ExporterHandle::blocks),
            None => self.missing().any(ExporterHandle::blocks),
        }
    }

    /// Ends a search that has not waited.
    pub(super) fn end_or_wait(self, ledger: &Ledger) -> Reservation {
        if !self.is_enough() && self.is_worth_a_wait() {
            return Reservation::Wait;
        }
        self.end(ledger)
    }

    /// Ends the search. Without enough room, it books the exporters without room. It answers by the
    /// settings of this very moment, because the settings may have changed during the wait.
    pub(super) fn end(self, ledger: &Ledger) -> Reservation {
        if self.is_enough() {
            return Reservation::Taken(self.into_permits());
        }
        let items = self.request.items;
        for exporter in self.missing() {
            ledger.post_exporter(exporter.column(), |column| column.enqueue_failed += items);
        }
        if self.has_some() || self.exporters.iter().any(ExporterHandle::refuses) {
            return Reservation::Refused;
        }
        Reservation::Full
    }

    /// Makes permits of the room that was found. At the other exporters, the batch waits until its
    /// time is up, or is dropped.
    pub(super) fn into_permits(self) -> Permits {
        let Self {
            exporters,
            request,
            room,
        } = self;
        let places = room.into_iter().zip(exporters.iter());
        let place = |(room, exporter): (Option<Permit>, &ExporterHandle)| match room {
            Some(permit) => QueuePlace::Room(permit),
            None => exporter.aside(request.class, request.bytes, request.until),
        };
        Permits {
            places: places.map(place).collect(),
            exporters,
            until: request.until,
            hold: None,
        }
    }
}
