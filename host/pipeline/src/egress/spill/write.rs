//! The way into an exporter's log.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::sync::watch;
use tokio::time::Instant;

use super::{RETRY, Spill};
use crate::batcher::Gathered;
use crate::journal::Unwritten;
use crate::queue::{Lane, Queued};

/// The number of batches that are appended at once: more than one wait for the disk needs.
const GROUP: usize = 1024;
/// The size up to which batches are merged into one record: a log keeps data on each record in
/// memory, and an outage may be long.
const RECORD_BYTES: usize = 1 << 20;
/// The pause between two groups, so that there is something to merge. The batches that wait are in
/// the ingress log.
const LINGER: Duration = Duration::from_millis(50);

impl Spill {
    /// Writes the pushed batches, until no more will come and all are written. While draining,
    /// batches that the log does not take are given up at once, because they are in the ingress
    /// log.
    pub(in crate::egress) async fn write(self: Arc<Self>, drain: watch::Receiver<bool>) {
        let mut group = Vec::new();
        let mut failing = false;
        let mut next = Instant::now();
        while self.gather(&mut group).await {
            if Instant::now() < next && !*drain.borrow() {
                tokio::time::sleep_until(next).await;
                self.take(&mut group);
            }
            next = Instant::now() + LINGER;
            self.merge(&mut group);
            let appends = group.iter().map(|gathered: &Gathered| {
                let request = &gathered.request;
                self.log.append(request.bytes().clone(), request.items())
            });
            let appended = join_all(appends).await;
            let mut failed = Vec::new();
            let mut error = None;
            let mut written = 0;
            for (gathered, appended) in group.drain(..).zip(appended) {
                match appended {
                    Ok(record) => {
                        written = written.max(record + 1);
                        gathered.request.spill();
                    }
                    Err(unwritten) => {
                        error = Some(unwritten);
                        failed.push(gathered);
                    }
                }
            }
            // Every append has ended, so all records below are in the books.
            self.written.send_if_modified(|before| {
                let more = written > *before;
                *before = written.max(*before);
                more
            });
            self.tell(error.as_ref(), &mut failing);
            if error.is_some() && *drain.borrow() {
                self.leave(failed.len() as u64);
                failed.clear();
            }
            group = self.go_round(failed, drain.clone()).await;
        }
    }

    /// Adds the next batches to those that are in `group` already; returns false if there are none
    /// and will be none.
    async fn gather(&self, group: &mut Vec<Gathered>) -> bool {
        loop {
            // Read before the batches are looked at: a push before `close` is then always seen.
            let closed = self.closed.load(Ordering::Acquire);
            self.take(group);
            if closed || !group.is_empty() {
                return !group.is_empty();
            }
            self.arrived.notified().await;
        }
    }

    fn take(&self, group: &mut Vec<Gathered>) {
        let mut waiting = self.lock();
        let room = GROUP.saturating_sub(group.len()).min(waiting.len());
        group.extend(waiting.drain(..room));
    }

    /// Merges these into fewer batches, and makes the backlog smaller by the difference.
    fn merge(&self, group: &mut Vec<Gathered>) {
        let before = group.len();
        let mut merged = Vec::with_capacity(1);
        let (mut run, mut size) = (Vec::new(), 0);
        for gathered in group.drain(..) {
            let bytes = gathered.request.bytes().len();
            if size + bytes > RECORD_BYTES {
                merged.extend(Gathered::merge(std::mem::take(&mut run)));
                size = 0;
            }
            size += bytes;
            run.push(gathered);
        }
        merged.extend(Gathered::merge(run));
        self.leave((before - merged.len()) as u64);
        *group = merged;
    }

    fn tell(&self, error: Option<&Unwritten>, failing: &mut bool) {
        let (pipeline, exporter) = (self.ledger.pipeline(), &self.exporter);
        let failed = error.is_some();
        match (error, *failing) {
            (Some(error), false) => {
                let error: &dyn std::error::Error = error;
                tracing::warn!(
                    pipeline,
                    exporter,
                    error,
                    "exporter's log takes nothing, batches wait in memory"
                );
            }
            (None, true) => tracing::info!(pipeline, exporter, "exporter's log works again"),
            _ => {}
        }
        *failing = failed;
    }

    /// Puts batches that the log did not take into the queue as far as there is room, for a while.
    /// Returns those that found none.
    async fn go_round(
        &self,
        failed: Vec<Gathered>,
        mut drain: watch::Receiver<bool>,
    ) -> Vec<Gathered> {
        let again = Instant::now() + RETRY;
        let mut outlets = self.outlet.subscribe();
        let mut failed = failed.into_iter();
        while let Some(gathered) = failed.next() {
            let request = &gathered.request;
            let (items, bytes) = (request.items(), request.bytes().len());
            let outlet = outlets.borrow_and_update().upgrade();
            let room = async {
                match &outlet {
                    Some(outlet) => outlet.queue().reserve(Lane::Released, items, bytes).await,
                    None => std::future::pending().await,
                }
            };
            let permit = tokio::select! {
                biased;
                permit = room => permit,
                () = tokio::time::sleep_until(again) => None,
                _ = outlets.changed() => None,
                _ = drain.wait_for(|draining| *draining) => None,
            };
            let (Some(permit), Some(outlet)) = (permit, outlet) else {
                return std::iter::once(gathered).chain(failed).collect();
            };
            let batch = gathered.request.into_batch();
            outlet.queue().push(Queued { batch, permit });
            self.leave(1);
        }
        Vec::new()
    }
}
