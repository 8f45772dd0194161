//! The ways out of a pipeline, as they are at one moment.

use std::sync::Arc;

use tokio::sync::watch;
use tokio::time::Instant;

use super::permits::Place;
use super::settings::Settings;
use super::spill::Spill;
use crate::batch::Batch;
use crate::batcher::Gathered;
use crate::overflow::Overflow;
use crate::queue::{Lane, Permit, Queue, QueueFill, Queued, Waits};

/// The way to one exporter. When it is dropped, its queue closes: no batch is left then that could
/// still go there.
#[derive(Debug)]
pub(super) struct Outlet {
    /// The exporter's column in the books.
    column: usize,
    queue: Arc<Queue>,
    name: String,
    settings: Settings,
    /// The way into the exporter's log, in a pipeline that has one.
    spill: Option<Arc<Spill>>,
    overflow: Arc<Overflow>,
    /// True if it may not overflow alone, whatever its settings say.
    keeps_all: bool,
    /// True if it is not among the exporters any more.
    retired: watch::Sender<bool>,
}

impl Outlet {
    pub(super) fn new(parts: Parts, settings: Settings) -> Self {
        let Parts {
            column,
            queue,
            spill,
            overflow,
            keeps_all,
            retired,
        } = parts;
        Self {
            column,
            queue,
            name: settings.asked().name.clone(),
            settings,
            spill,
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
        self.keeps_all || self.queue.refuses()
    }

    /// Returns true if batches wait for room.
    pub(super) fn blocks(&self) -> bool {
        self.queue.blocks()
    }

    /// Takes room now, or not at all.
    pub(super) fn try_reserve(&self, lane: Lane, items: u64, bytes: usize) -> Option<Permit> {
        let permit = self.try_room(lane, items, bytes)?;
        self.overflow.has_room();
        Some(permit)
    }

    fn try_room(&self, lane: Lane, items: u64, bytes: usize) -> Option<Permit> {
        let Some(spill) = &self.spill else {
            return self.queue.try_reserve(lane, items, bytes);
        };
        let in_queue = match spill.has_backlog() {
            true => None,
            false => self.queue.try_reserve(lane, items, bytes),
        };
        let on_the_way = || Some(spill.room().try_reserve(lane, items, bytes)?.spilling());
        in_queue.or_else(on_the_way)
    }

    /// Waits for room. The caller bounds the wait.
    pub(super) async fn reserve(&self, lane: Lane, items: u64, bytes: usize) -> Option<Permit> {
        let Some(spill) = &self.spill else {
            return self.queue.reserve(lane, items, bytes).await;
        };
        tokio::select! {
            biased;
            in_queue = self.queue.reserve(lane, items, bytes), if !spill.has_backlog() => in_queue,
            on_the_way = spill.room().reserve(lane, items, bytes) => Some(on_the_way?.spilling()),
        }
    }

    /// Returns the place of a batch that finds no room here, and that others take. A sender's batch
    /// waits only if the settings say so. A batch that plugins let go may always wait, because it
    /// was accepted long ago.
    pub(super) fn aside(&self, lane: Lane, bytes: usize, until: Instant) -> Place {
        let waits = self.blocks() || lane != Lane::Sent;
        let seat = waits.then(|| self.queue.seat(lane, bytes, until)).flatten();
        seat.map_or(Place::Overflows, Place::Waits)
    }

    /// Moves a batch to its place. If it has to wait there, its sender's answer waits for `waits`.
    pub(super) fn put(&self, batch: Batch, place: &Place, waits: Option<&Waits>) {
        match place {
            Place::Room(permit) => self.push(batch, permit.clone()),
            Place::Waits(seat) => self.queue.put_aside(batch, seat.clone(), waits.cloned()),
            Place::Overflows => self.overflow.drop_batch(batch),
        }
    }

    /// Moves a batch into the queue, or behind the batches in the log.
    fn push(&self, batch: Batch, permit: Permit) {
        match &self.spill {
            Some(spill) if permit.spills() || spill.has_backlog() => {
                spill.push(Gathered::from(Queued { batch, permit }));
            }
            _ => self.queue.push(Queued { batch, permit }),
        }
    }

    /// Returns the fill of the queue, including the way to the log.
    pub(super) fn fill(&self) -> QueueFill {
        let mut fill = self.queue.fill();
        if let Some(spill) = &self.spill {
            fill.bytes += spill.fill().bytes;
        }
        fill
    }

    pub(super) fn column(&self) -> usize {
        self.column
    }

    pub(super) fn queue(&self) -> &Arc<Queue> {
        &self.queue
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Returns true if it has a log.
    pub(super) fn spills(&self) -> bool {
        self.spill.is_some()
    }
}

impl Drop for Outlet {
    fn drop(&mut self) {
        self.queue.close();
    }
}

/// The parts of an outlet, except for its settings.
pub(super) struct Parts {
    pub(super) column: usize,
    pub(super) queue: Arc<Queue>,
    pub(super) spill: Option<Arc<Spill>>,
    pub(super) overflow: Arc<Overflow>,
    pub(super) keeps_all: bool,
    pub(super) retired: watch::Sender<bool>,
}

/// One way to each exporter.
#[derive(Debug)]
pub(super) struct Outlets(Vec<Arc<Outlet>>);

impl PartialEq for Outlets {
    /// Returns true if both have the very same outlets, in the same order.
    fn eq(&self, other: &Self) -> bool {
        let pairs = || self.0.iter().zip(&other.0);
        self.0.len() == other.0.len() && pairs().all(|(one, other)| Arc::ptr_eq(one, other))
    }
}

impl Outlets {
    pub(super) fn new(outlets: Vec<Arc<Outlet>>) -> Self {
        Self(outlets)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Outlet> + Clone {
        self.0.iter().map(Arc::as_ref)
    }

    /// Returns true if one of these has the name.
    pub(super) fn has(&self, name: &str) -> bool {
        self.iter().any(|outlet| outlet.name() == name)
    }

    /// Returns the outlet with this name.
    pub(super) fn named(&self, name: &str) -> Option<Arc<Outlet>> {
        let found = self.0.iter().find(|outlet| outlet.name == name);
        found.cloned()
    }

    /// Returns the outlets that are not among the others.
    pub(super) fn without(&self, others: &Self) -> impl Iterator<Item = &Outlet> {
        let is_gone =
            |outlet: &&Arc<Outlet>| !others.0.iter().any(|other| Arc::ptr_eq(outlet, other));
        self.0.iter().filter(is_gone).map(Arc::as_ref)
    }
}
