//! The task that writes an exporter's log.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::sync::watch;
use tokio::time::Instant;

use super::{DiskQueue, RETRY};
use crate::batcher::OutgoingRequest;
use crate::journal::AppendError;
use crate::queue::{QueuedBatch, RoomClass};

/// The number of batches that are appended at once: more than one wait for the disk needs.
const GROUP: usize = 1024;
/// The size up to which batches are merged into one record: a log keeps data on each record in
/// memory, and an outage may be long.
const RECORD_BYTES: usize = 1 << 20;
/// The pause between two groups, so that there is something to merge. The batches that wait are in
/// the ingress log.
const LINGER: Duration = Duration::from_millis(50);

/// The task that writes an exporter's log.
pub(in crate::egress) struct DiskWriter {
    disk: Arc<DiskQueue>,
    drain: watch::Receiver<bool>,
    /// The batches that are written next.
    group: Vec<OutgoingRequest>,
    /// True if the log took nothing the last time.
    is_failing: bool,
}

impl DiskWriter {
    pub(in crate::egress) fn new(disk: Arc<DiskQueue>, drain: watch::Receiver<bool>) -> Self {
        Self {
            disk,
            drain,
            group: Vec::new(),
            is_failing: false,
        }
    }

    /// Writes the pushed batches, until no more will come and all are written. While draining,
    /// batches that the log does not take are given up at once, because they are in the ingress
    /// log.
    pub(in crate::egress) async fn run(mut self) {
        let mut next = Instant::now();
        while self.gather().await {
            if Instant::now() < next && !*self.drain.borrow() {
                tokio::time::sleep_until(next).await;
                self.take();
            }
            next = Instant::now() + LINGER;
            self.merge();
            let mut failed = self.append().await;
            if !failed.is_empty() && *self.drain.borrow() {
                self.disk.leave(failed.len() as u64);
                failed.clear();
            }
            self.group = self.go_round(failed).await;
        }
    }

    /// Adds the next batches to those that are in the group already; returns false if there are
    /// none and will be none.
    async fn gather(&mut self) -> bool {
        loop {
            // Read before the batches are looked at: a push before `close` is then always seen.
            let closed = self.disk.closed.load(Ordering::Acquire);
            self.take();
            if closed || !self.group.is_empty() {
                return !self.group.is_empty();
            }
            self.disk.arrived.notified().await;
        }
    }

    fn take(&mut self) {
        let mut waiting = self.disk.lock();
        let room = GROUP.saturating_sub(self.group.len()).min(waiting.len());
        self.group.extend(waiting.drain(..room));
    }

    /// Merges the group into fewer batches, and makes the backlog smaller by the difference.
    fn merge(&mut self) {
        let before = self.group.len();
        let mut merged = Vec::with_capacity(1);
        let (mut run, mut size) = (Vec::new(), 0);
        for request in self.group.drain(..) {
            let bytes = request.bytes().len();
            if size + bytes > RECORD_BYTES {
                merged.extend(OutgoingRequest::merge(std::mem::take(&mut run)));
                size = 0;
            }
            size += bytes;
            run.push(request);
        }
        merged.extend(OutgoingRequest::merge(run));
        self.disk.leave((before - merged.len()) as u64);
        self.group = merged;
    }

    /// Writes the group. Returns the batches that the log did not take.
    async fn append(&mut self) -> Vec<OutgoingRequest> {
        let log = &self.disk.log;
        let group = self.group.iter();
        let appends = group.map(|request| log.append(request.bytes().clone(), request.items()));
        let appended = join_all(appends).await;
        let mut failed = Vec::new();
        let mut error = None;
        let mut written = 0;
        for (request, appended) in self.group.drain(..).zip(appended) {
            match appended {
                Ok(record) => {
                    written = written.max(record + 1);
                    request.spill();
                }
                Err(unwritten) => {
                    error = Some(unwritten);
                    failed.push(request);
                }
            }
        }
        // Every append has ended, so all records below are in the books.
        self.disk.written.send_if_modified(|before| {
            let more = written > *before;
            *before = written.max(*before);
            more
        });
        self.tell(error.as_ref());
        failed
    }

    fn tell(&mut self, error: Option<&AppendError>) {
        let (pipeline, exporter) = (self.disk.ledger.pipeline(), &self.disk.exporter);
        match (error, self.is_failing) {
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
        self.is_failing = error.is_some();
    }

    /// Puts batches that the log did not take into the memory as far as there is room, for a while.
    /// Returns those that found none.
    async fn go_round(&mut self, failed: Vec<OutgoingRequest>) -> Vec<OutgoingRequest> {
        let again = Instant::now() + RETRY;
        let mut memories = self.disk.memory.subscribe();
        let mut failed = failed.into_iter();
        while let Some(request) = failed.next() {
            let (items, bytes) = (request.items(), request.bytes().len());
            let memory = memories.borrow_and_update().upgrade();
            let room = async {
                match &memory {
                    Some(memory) => {
                        let queue = memory.queue();
                        queue.reserve(RoomClass::Released, items, bytes).await
                    }
                    None => std::future::pending().await,
                }
            };
            let permit = tokio::select! {
                biased;
                permit = room => permit,
                () = tokio::time::sleep_until(again) => None,
                _ = memories.changed() => None,
                _ = self.drain.wait_for(|draining| *draining) => None,
            };
            let (Some(permit), Some(memory)) = (permit, memory) else {
                return std::iter::once(request).chain(failed).collect();
            };
            let batch = request.into_batch();
            memory.queue().push(QueuedBatch { batch, permit });
            self.disk.leave(1);
        }
        Vec::new()
    }
}
