//! The exporters of a pipeline, as they are at one moment.

use std::sync::Arc;

use tokio::sync::watch;
use tokio::time::Instant;

use super::exporter_queue::ExporterQueue;
use super::settings::Settings;
use crate::batch::Batch;
use crate::overflow::Overflow;
use crate::queue::{AnswerHold, Permit, Queue, QueueFill, QueuedBatch, RoomClass, Seat};

/// The handle of one exporter. When the last one is dropped, the exporter's queue closes: no batch
/// is left then that could still go there.
#[derive(Debug)]
pub(super) struct ExporterHandle {
    /// The exporter's column in the books.
    column: usize,
    queue: ExporterQueue,
    name: String,
    settings: Settings,
    overflow: Arc<Overflow>,
    /// True if it may not overflow alone, whatever its settings say.
    keeps_all: bool,
    /// True if it is not among the exporters any more.
    retired: watch::Sender<bool>,
}

/// The place of a batch behind the last stage, at one exporter.
#[derive(Clone, Debug)]
pub(super) enum QueuePlace {
    /// There is room in its queue.
    Room(Permit),
    /// The batch waits for room.
    Waits(Seat),
    /// The batch is dropped for this exporter.
    Overflows,
}

impl ExporterHandle {
    pub(super) fn new(
        column: usize,
        queue: ExporterQueue,
        settings: Settings,
        overflow: Arc<Overflow>,
        keeps_all: bool,
        retired: watch::Sender<bool>,
    ) -> Self {
        Self {
            column,
            queue,
            name: settings.asked().name.clone(),
            settings,
            overflow,
            keeps_all,
            retired,
        }
    }

    /// Marks that nothing new comes here.
    pub(super) fn retire(&self) {
        self.retired.send_replace(true);
    }

    /// Returns true if a batch that finds no room here is refused to its sender, instead of being
    /// dropped for this exporter alone.
    pub(super) fn refuses(&self) -> bool {
        self.keeps_all || self.memory().refuses()
    }

    /// Returns true if batches wait for room.
    pub(super) fn blocks(&self) -> bool {
        self.memory().blocks()
    }

    /// Takes room now, or not at all.
    pub(super) fn try_reserve(&self, class: RoomClass, items: u64, bytes: usize) -> Option<Permit> {
        let permit = self.queue.try_reserve(class, items, bytes)?;
        self.overflow.has_room();
        Some(permit)
    }

    /// Waits for room. The caller bounds the wait.
    pub(super) async fn reserve(
        &self,
        class: RoomClass,
        items: u64,
        bytes: usize,
    ) -> Option<Permit> {
        self.queue.reserve(class, items, bytes).await
    }

    /// Returns the place of a batch that finds no room here, and that others take. A sender's batch
    /// waits only if the settings say so. A batch that plugins let go may always wait, because it
    /// was accepted long ago.
    pub(super) fn aside(&self, class: RoomClass, bytes: usize, until: Instant) -> QueuePlace {
        let waits = self.blocks() || class != RoomClass::Sent;
        let seat = waits
            .then(|| self.queue.seat(class, bytes, until))
            .flatten();
        seat.map_or(QueuePlace::Overflows, QueuePlace::Waits)
    }

    /// Moves a batch to its place. If it has to wait there, the answer to its sender waits for
    /// `hold`.
    pub(super) fn put(&self, batch: Batch, place: &QueuePlace, hold: Option<&AnswerHold>) {
        match place {
            QueuePlace::Room(permit) => self.queue.push(QueuedBatch {
                batch,
                permit: permit.clone(),
            }),
            QueuePlace::Waits(seat) => self.queue.put_to_wait(batch, seat.clone(), hold.cloned()),
            QueuePlace::Overflows => self.overflow.drop_batch(batch),
        }
    }

    /// Returns the fill of the queue.
    pub(super) fn fill(&self) -> QueueFill {
        self.queue.fill()
    }

    pub(super) fn column(&self) -> usize {
        self.column
    }

    /// Returns the part of its queue that is in memory.
    pub(super) fn memory(&self) -> &Arc<Queue> {
        self.queue.memory()
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Returns true if a part of its queue is on the disk.
    pub(super) fn has_disk(&self) -> bool {
        self.queue.has_disk()
    }
}

/// The exporters of a pipeline: each gets everything.
#[derive(Debug)]
pub(super) struct Exporters(Vec<Arc<ExporterHandle>>);

impl PartialEq for Exporters {
    /// Returns true if both have the very same exporters, in the same order.
    fn eq(&self, other: &Self) -> bool {
        let pairs = || self.0.iter().zip(&other.0);
        self.0.len() == other.0.len() && pairs().all(|(one, other)| Arc::ptr_eq(one, other))
    }
}

impl Exporters {
    pub(super) fn new(exporters: Vec<Arc<ExporterHandle>>) -> Self {
        Self(exporters)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &ExporterHandle> + Clone {
        self.0.iter().map(Arc::as_ref)
    }

    /// Returns true if one of these has the name.
    pub(super) fn has(&self, name: &str) -> bool {
        self.iter().any(|exporter| exporter.name() == name)
    }

    /// Returns the exporter with this name.
    pub(super) fn named(&self, name: &str) -> Option<Arc<ExporterHandle>> {
        let found = self.0.iter().find(|exporter| exporter.name == name);
        found.cloned()
    }

    /// Returns those that are not among the others.
    pub(super) fn without(&self, others: &Self) -> impl Iterator<Item = &ExporterHandle> {
        let is_gone = |exporter: &&Arc<ExporterHandle>| {
            !others.0.iter().any(|other| Arc::ptr_eq(exporter, other))
        };
        self.0.iter().filter(is_gone).map(Arc::as_ref)
    }
}
