//! A log and its two threads: one commits, the other writes checkpoints.

use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::SystemTime;

use bytes::Bytes;
use futures_util::future::{BoxFuture, FutureExt};
use spandrel_pipeline::journal::{Log, LogFill, Loss, Unfinished, Unreadable, Unwritten};
use tokio::sync::{Semaphore, oneshot};

use crate::checkpointer::requests::Calls;
use crate::checkpointer::{self, Keeper};
use crate::segments::allocation::AllocationRequests;
use crate::segments::{Shared, read};
use crate::writer::queue::{Queue, WAITING_KIB, Waiting};
use crate::writer::{self, Batch, Writer};

/// One log of a journal.
pub(crate) struct DurableLog {
    pub(crate) shared: Arc<Shared>,
    queue: Arc<Queue>,
    calls: Arc<Calls>,
    room: Arc<Semaphore>,
    life: Mutex<Life>,
}

/// The owner of the parts of a log that only one may use.
enum Life {
    /// The threads have not been started.
    Idle(Keeper),
    Running(JoinHandle<Writer>, JoinHandle<Keeper>),
    Ended,
}

impl fmt::Debug for DurableLog {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("DurableLog")
            .field("name", &self.shared.name)
            .finish_non_exhaustive()
    }
}

impl DurableLog {
    pub(crate) fn new(shared: Arc<Shared>, keeper: Keeper) -> Self {
        let permits = usize::try_from(WAITING_KIB).unwrap_or_default();
        Self {
            shared,
            queue: Arc::default(),
            calls: Arc::default(),
            room: Arc::new(Semaphore::new(permits)),
            life: Mutex::new(Life::Idle(keeper)),
        }
    }

    /// Starts the log's threads, unless they run.
    pub(crate) fn start(&self, allocations: &AllocationRequests) -> io::Result<()> {
        let mut life = self.life.lock().unwrap_or_else(PoisonError::into_inner);
        let keeper = match std::mem::replace(&mut *life, Life::Ended) {
            Life::Idle(keeper) => keeper,
            Life::Running(writer, keeper) => {
                *life = Life::Running(writer, keeper);
                return Ok(());
            }
            Life::Ended => return Err(closed()),
        };
        let calls = Arc::clone(&self.calls);
        let keep = move || checkpointer::thread::run(keeper, &calls);
        let keeper = std::thread::Builder::new()
            .name("journal-keep".into())
            .spawn(keep)?;
        let shared = Arc::clone(&self.shared);
        let (queue, calls) = (Arc::clone(&self.queue), Arc::clone(&self.calls));
        let allocations = allocations.clone();
        let writer = std::thread::Builder::new()
            .name("journal-commit".into())
            .spawn(move || writer::thread::run(Writer::new(shared), &queue, &calls, &allocations));
        let writer = writer.inspect_err(|_| {
            // Without a commit thread nobody must wait, and the other thread must end.
            self.queue.abandon();
            self.calls.stop();
        })?;
        *life = Life::Running(writer, keeper);
        Ok(())
    }

    /// Refuses new batches.
    pub(crate) fn close(&self) {
        self.queue.close();
    }

    /// Writes what waits, then ends the threads. With `well` it also tells the next process that
    /// the log was closed. Waits for the disk, however long that takes.
    pub(crate) fn end(&self, well: bool) -> io::Result<()> {
        self.close();
        let mut life = self.life.lock().unwrap_or_else(PoisonError::into_inner);
        let ended = std::mem::replace(&mut *life, Life::Ended);
        drop(life);
        let (writer, mut keeper) = match ended {
            Life::Idle(keeper) => (None, keeper),
            Life::Running(writer, keeper) => {
                let writer = writer.join();
                self.calls.stop();
                let keeper = keeper.join().map_err(|_| panicked())?;
                (Some(writer.map_err(|_| panicked())?), keeper)
            }
            Life::Ended => return Ok(()),
        };
        if !well {
            return Ok(());
        }
        if let Some(mut writer) = writer {
            let synced = writer.sync();
            synced.map_err(|error| io::Error::other(error.to_string()))?;
        }
        keeper.checkpoint_synced(true)
    }

    /// Finishes the records that have expired.
    pub(crate) fn expire(&self) {
        let (records, items) = self.shared.expire();
        if records == 0 {
            return;
        }
        let log = &self.shared.name;
        tracing::warn!(log, records, items, "journal records expired");
        let mut life = self.life.lock().unwrap_or_else(PoisonError::into_inner);
        match &mut *life {
            Life::Idle(keeper) => {
                let given_up = keeper.checkpoint().and(keeper.reclaim());
                if let Err(error) = given_up {
                    tracing::debug!(%error, log, "segments not given up");
                }
            }
            Life::Running(..) => self.calls.dirty(),
            Life::Ended => {}
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
    fn append(&self, batch: Bytes, items: u64) -> BoxFuture<'static, Result<u64, Unwritten>> {
        let (queue, room) = (Arc::clone(&self.queue), Arc::clone(&self.room));
        async move {
            let kib = u32::try_from(batch.len() / 1024).unwrap_or(u32::MAX);
            let permits = kib.saturating_add(1).min(WAITING_KIB);
            let room = room.acquire_many_owned(permits).await;
            let room = room.map_err(|_| Unwritten::Closed)?;
            let (answer, written) = oneshot::channel();
            let batch = Batch {
                bytes: batch,
                items,
            };
            queue.push(Waiting {
                batch,
                answer,
                room,
            })?;
            written.await.unwrap_or(Err(Unwritten::Closed))
        }
        .boxed()
    }

    fn finish(&self, record: u64) {
        self.shared.state().finish(record);
        self.calls.dirty();
    }

    fn is_expired(&self, written: SystemTime) -> bool {
        self.shared.is_expired(written)
    }

    fn read(&self, record: u64) -> BoxFuture<'static, Result<Bytes, Unreadable>> {
        let shared = Arc::clone(&self.shared);
        async move {
            let read = tokio::task::spawn_blocking(move || read::record(&shared, record));
            let failed = |error| Err(Unreadable::Failed(io::Error::other(error)));
            read.await.unwrap_or_else(failed)
        }
        .boxed()
    }

    fn set_attempts(&self, attempts: Vec<(u64, u8)>) -> BoxFuture<'static, io::Result<()>> {
        let (shared, calls) = (Arc::clone(&self.shared), Arc::clone(&self.calls));
        async move {
            let (done, written) = oneshot::channel();
            shared.state().set_attempts(&attempts);
            if !calls.mark(done) {
                return Err(closed());
            }
            written.await.unwrap_or_else(|_| Err(closed()))
        }
        .boxed()
    }

    fn unfinished(&self, from: u64, most: usize) -> Vec<Unfinished> {
        self.shared.state().unfinished(from, most)
    }

    fn first_new(&self) -> u64 {
        self.shared.state().first_new
    }

    fn loss(&self) -> Loss {
        self.shared.state().loss
    }

    fn next(&self) -> u64 {
        self.shared.state().next
    }

    fn fill(&self) -> LogFill {
        self.shared.state().fill()
    }
}
