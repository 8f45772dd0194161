//! The ways out of a pipeline as they are at one moment, and room in them.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

use super::ExporterSpec;
use super::spill::Spill;
use crate::batch::Batch;
use crate::batcher::Gathered;
use crate::queue::{Lane, Permit, Queue, QueueFill, Queued};

/// The way to one exporter. Its queue closes when this is gone: then no batch is left that could
/// still go there.
#[derive(Debug)]
pub(super) struct Outlet {
    /// In the books.
    column: usize,
    queue: Arc<Queue>,
    spec: Arc<ExporterSpec>,
    /// The way into the exporter's log, in a pipeline that has one.
    spill: Option<Arc<Spill>>,
    /// Another takes its place, or none does.
    retired: watch::Sender<bool>,
}

impl Outlet {
    pub(super) fn new(
        column: usize,
        queue: Arc<Queue>,
        spec: Arc<ExporterSpec>,
        spill: Option<Arc<Spill>>,
        retired: watch::Sender<bool>,
    ) -> Self {
        Self {
            column,
            queue,
            spec,
            spill,
            retired,
        }
    }

    /// Nothing new comes here.
    pub(super) fn retire(&self) {
        self.retired.send_replace(true);
    }

    /// A sender's room, now.
    fn try_reserve(&self, items: u64, bytes: usize) -> Option<Permit> {
        let Some(spill) = &self.spill else {
            return self.queue.try_reserve(items, bytes);
        };
        let in_queue = match spill.has_backlog() {
            true => None,
            false => self.queue.try_reserve(items, bytes),
        };
        let on_the_way = || Some(spill.room().try_reserve(items, bytes)?.spilling());
        in_queue.or_else(on_the_way)
    }

    /// Waits for room. The caller bounds the wait.
    async fn reserve(&self, lane: Lane, items: u64, bytes: usize) -> Option<Permit> {
        let Some(spill) = &self.spill else {
            return self.queue.reserve(lane, items, bytes).await;
        };
        tokio::select! {
            biased;
            in_queue = self.queue.reserve(lane, items, bytes), if !spill.has_backlog() => in_queue,
            on_the_way = spill.room().reserve(lane, items, bytes) => Some(on_the_way?.spilling()),
        }
    }

    /// Moves a batch into the queue, or behind what is in the log.
    fn push(&self, batch: Batch, permit: Permit) {
        match &self.spill {
            Some(spill) if permit.spills() || spill.has_backlog() => {
                spill.push(Gathered::from(Queued { batch, permit }));
            }
            _ => self.queue.push(Queued { batch, permit }),
        }
    }

    /// How full the queue is, with the way to the log.
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
        &self.spec.name
    }
}

impl Drop for Outlet {
    fn drop(&mut self) {
        self.queue.close();
    }
}

/// One way to each exporter.
#[derive(Debug)]
pub(super) struct Outlets(Vec<Arc<Outlet>>);

impl PartialEq for Outlets {
    /// The very same, in the same order.
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

    /// Whether one of these has the name.
    pub(super) fn has(&self, name: &str) -> bool {
        self.iter().any(|outlet| outlet.name() == name)
    }

    /// The one that was made by these very settings.
    pub(super) fn like(&self, spec: &ExporterSpec) -> Option<Arc<Outlet>> {
        let found = self.0.iter().find(|outlet| outlet.spec.is_same(spec));
        found.cloned()
    }

    /// Those that are not among the others.
    pub(super) fn without(&self, others: &Self) -> impl Iterator<Item = &Outlet> {
        let is_gone =
            |outlet: &&Arc<Outlet>| !others.0.iter().any(|other| Arc::ptr_eq(outlet, other));
        self.0.iter().filter(is_gone).map(Arc::as_ref)
    }

    /// A sender's room in each queue, where there is any now.
    pub(super) fn try_reserve(&self, items: u64, bytes: usize) -> Vec<Option<Permit>> {
        let room = self.iter().map(|outlet| outlet.try_reserve(items, bytes));
        room.collect()
    }

    /// Waits for a sender's room where the queue says that senders wait.
    ///
    /// # Errors
    /// The first that had none until `deadline`.
    pub(super) async fn wait_for_room(
        &self,
        items: u64,
        bytes: usize,
        deadline: Instant,
    ) -> Result<Vec<Permit>, &Outlet> {
        let mut room = Vec::with_capacity(self.0.len());
        for outlet in self.iter() {
            let permit = if outlet.queue.config().block_on_overflow {
                let waiting = outlet.reserve(Lane::Sent, items, bytes);
                timeout_at(deadline, waiting).await.ok().flatten()
            } else {
                outlet.try_reserve(items, bytes)
            };
            room.push(permit.ok_or(outlet)?);
        }
        Ok(room)
    }

    /// Waits for room for what was accepted before.
    pub(super) async fn reserve(
        &self,
        lane: Lane,
        items: u64,
        bytes: usize,
    ) -> Option<Vec<Permit>> {
        let mut room = Vec::with_capacity(self.0.len());
        for outlet in self.iter() {
            let waiting = outlet.reserve(lane, items, bytes);
            room.push(waiting.await?);
        }
        Some(room)
    }
}

/// Room for one batch in every exporter's queue, and so the batch's way out: while there are permits
/// for an exporter, its queue is open.
#[derive(Clone, Debug)]
pub(crate) struct Permits {
    outlets: Arc<Outlets>,
    room: Vec<Permit>,
}

impl Permits {
    pub(super) fn new(outlets: Arc<Outlets>, room: Vec<Permit>) -> Self {
        Self { outlets, room }
    }

    /// Moves a batch into every queue.
    pub(super) fn forward(&self, Batch { bytes, tally }: Batch) {
        let tallies = tally.forward(self.outlets.iter().map(Outlet::column));
        let outlets = self.outlets.iter().zip(&self.room);
        for ((outlet, permit), tally) in outlets.zip(tallies) {
            let batch = Batch {
                bytes: Bytes::clone(&bytes),
                tally,
            };
            outlet.push(batch, permit.clone());
        }
    }
}
