//! A log and its two threads: one commits, the other writes checkpoints.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::SystemTime;

use bytes::Bytes;
use futures_util::future::{BoxFuture, FutureExt};
use parking_lot::{Mutex, MutexGuard};
use spandrel_pipeline::journal::{AppendError, Log, LogFill, Loss, RecordError, UnfinishedRecord};
use tokio::sync::{Semaphore, oneshot};

use crate::checkpointer::requests::CheckpointRequests;
use crate::checkpointer::{self, Checkpointer};
use crate::segments::Segments;
use crate::segments::allocation::AllocationRequests;
use crate::segments::read::read_record;
use crate::writer::queue::{AppendQueue, MAX_WAITING_KIB, PendingAppend};
use crate::writer::{self, NewRecord, Writer};

/// One log of a journal.
pub(crate) struct DurableLog {
    segments: Arc<Segments>,
    queue: Arc<AppendQueue>,
    checkpoints: Arc<CheckpointRequests>,
    room: Arc<Semaphore>,
    threads: Mutex<Threads>,
}

/// The owner of the parts of a log that only one may use.
enum Threads {
    /// The threads have not been started.
    Unstarted(Checkpointer),
    Running(JoinHandle<Writer>, JoinHandle<Checkpointer>),
    Ended,
}

impl fmt::Debug for DurableLog {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("DurableLog")
            .field("name", &self.segments.name())
            .finish_non_exhaustive()
    }
}

impl DurableLog {
    /// Makes a log whose threads do not run yet.
    pub(crate) fn new(segments: Arc<Segments>, checkpointer: Checkpointer) -> Self {
        let permits = usize::try_from(MAX_WAITING_KIB).unwrap_or_default();
        Self {
            segments,
            queue: Arc::default(),
            checkpoints: Arc::default(),
            room: Arc::new(Semaphore::new(permits)),
            threads: Mutex::new(Threads::Unstarted(checkpointer)),
        }
    }

    /// Returns the segments of the log.
    pub(crate) fn segments(&self) -> &Segments {
        &self.segments
    }

    fn threads(&self) -> MutexGuard<'_, Threads> {
        self.threads.lock()
    }

    /// Starts the log's threads, unless they run.
    pub(crate) fn start(&self, allocations: &AllocationRequests) -> io::Result<()> {
        let mut threads = self.threads();
        let checkpointer = match std::mem::replace(&mut *threads, Threads::Ended) {
            Threads::Unstarted(checkpointer) => checkpointer,
            Threads::Running(writer, checkpointer) => {
                *threads = Threads::Running(writer, checkpointer);
                return Ok(());
            }
            Threads::Ended => return Err(closed()),
        };
        let requests = Arc::clone(&self.checkpoints);
        let checkpointer = std::thread::Builder::new()
            .name("journal-ckpt".into())
            .spawn(move || checkpointer::thread::run(checkpointer, &requests))?;
        let writer = Writer::new(Arc::clone(&self.segments));
        let (queue, requests) = (Arc::clone(&self.queue), Arc::clone(&self.checkpoints));
        let allocations = allocations.clone();
        let writer = std::thread::Builder::new()
            .name("journal-commit".into())
            .spawn(move || writer::thread::run(writer, &queue, &requests, &allocations));
        let writer = writer.inspect_err(|_| {
            // Without a commit thread nobody must wait, and the other thread must end.
            self.queue.abandon();
            self.checkpoints.stop();
        })?;
        *threads = Threads::Running(writer, checkpointer);
        Ok(())
    }

    /// Refuses new batches.
    pub(crate) fn close(&self) {
        self.queue.close();
    }

    /// Writes what waits, then ends the threads. With `clean` it also tells the next process that
    /// the log was closed. Waits for the disk, however long that takes.
    pub(crate) fn end(&self, clean: bool) -> io::Result<()> {
        self.close();
        let ended = std::mem::replace(&mut *self.threads(), Threads::Ended);
        let (writer, mut checkpointer) = match ended {
            Threads::Unstarted(checkpointer) => (None, checkpointer),
            Threads::Running(writer, checkpointer) => {
                let writer = writer.join();
                self.checkpoints.stop();
                let checkpointer = checkpointer.join().map_err(|_| panicked())?;
                (Some(writer.map_err(|_| panicked())?), checkpointer)
            }
            Threads::Ended => return Ok(()),
        };
        if !clean {
            return Ok(());
        }
        if let Some(mut writer) = writer {
            let synced = writer.sync();
            synced.map_err(|error| io::Error::other(error.to_string()))?;
        }
        checkpointer.write_synced(true)
    }

    /// Finishes the records that have expired.
    pub(crate) fn expire(&self) {
        let (records, items) = self.segments.expire();
        if records == 0 {
            return;
        }
        let log = self.segments.name();
        tracing::warn!(log, records, items, "journal records expired");
        match &mut *self.threads() {
            Threads::Unstarted(checkpointer) => {
                let written = checkpointer.write_unsynced();
                if let Err(error) = written.and(checkpointer.retire_segments()) {
                    tracing::debug!(%error, log, "segments not retired");
                }
            }
            Threads::Running(..) => self.checkpoints.mark_dirty(),
            Threads::Ended => {}
        }
    }
}

pub(crate) fn closed() -> io::Error {
    io::Error::other("the journal is closed")
}

fn panicked() -> io::Error {
    io::Error::other("a thread of the journal panicked")
}

impl Log for DurableLog {
    fn append(&self, batch: Bytes, items: u64) -> BoxFuture<'static, Result<u64, AppendError>> {
        let (queue, room) = (Arc::clone(&self.queue), Arc::clone(&self.room));
        async move {
            let kib = u32::try_from(batch.len() / 1024).unwrap_or(u32::MAX);
            let permits = kib.saturating_add(1).min(MAX_WAITING_KIB);
            let room = room.acquire_many_owned(permits).await;
            let room = room.map_err(|_| AppendError::Closed)?;
            let (answer, written) = oneshot::channel();
            let record = NewRecord {
                payload: batch,
                items,
            };
            queue.push(PendingAppend {
                record,
                answer,
                room,
            })?;
            written.await.unwrap_or(Err(AppendError::Closed))
        }
        .boxed()
    }

    fn finish(&self, record: u64) {
        self.segments.index().finish(record);
        self.checkpoints.mark_dirty();
    }

    fn is_expired(&self, written: SystemTime) -> bool {
        self.segments.is_expired(written)
    }

    fn read(&self, record: u64) -> BoxFuture<'static, Result<Bytes, RecordError>> {
        let segments = Arc::clone(&self.segments);
        async move {
            let read = tokio::task::spawn_blocking(move || read_record(&segments, record));
            let failed = |error| Err(RecordError::Failed(io::Error::other(error)));
            read.await.unwrap_or_else(failed)
        }
        .boxed()
    }

    fn set_attempts(&self, attempts: Vec<(u64, u8)>) -> BoxFuture<'static, io::Result<()>> {
        let segments = Arc::clone(&self.segments);
        let checkpoints = Arc::clone(&self.checkpoints);
        async move {
            let (waiter, written) = oneshot::channel();
            segments.index().set_attempts(&attempts);
            if !checkpoints.request(waiter) {
                return Err(closed());
            }
            written.await.unwrap_or_else(|_| Err(closed()))
        }
        .boxed()
    }

    fn unfinished(&self, from: u64, most: usize) -> Vec<UnfinishedRecord> {
        self.segments.index().unfinished(from, most)
    }

    fn first_new(&self) -> u64 {
        self.segments.index().first_new_lsn()
    }

    fn loss(&self) -> Loss {
        self.segments.index().loss()
    }

    fn next(&self) -> u64 {
        self.segments.index().next_lsn()
    }

    fn fill(&self) -> LogFill {
        self.segments.fill()
    }
}
