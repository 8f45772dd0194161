//! What a pipeline asks of a journal: the durable logs of what it accepted and has not finished.
//!
//! A pipeline with a journal has one log at its door (*ingress*: requests as they were accepted) and
//! one behind its stages for each exporter (*egress*: batches that wait for a backend longer than
//! memory should). A record is *finished* once nothing of it is left to do; what is not finished is
//! there again after the process was killed. The crate `spandrel-journal` keeps the logs in files.

use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use spandrel_wire::Signal;

/// The logs of one pipeline, and the place for batches that must not be tried again.
#[derive(Clone, Debug)]
pub struct Durability {
    /// The logs.
    pub journal: Arc<dyn Journal>,
    /// Where a batch goes that failed every time.
    pub quarantine: Arc<dyn Shelf>,
}

/// The logs of one pipeline.
pub trait Journal: Send + Sync + fmt::Debug {
    /// The log at the door.
    fn ingress(&self) -> Arc<dyn Log>;

    /// The log of one exporter, by its name in the config; made when there is none yet, the same
    /// one each time. Reads and writes files: not for the data path.
    ///
    /// # Errors
    /// When its files can be neither read nor made.
    fn egress(&self, exporter: &str) -> io::Result<Arc<dyn Log>>;

    /// Keeps what the stages knew and held for the next process. Resolves once it is durable. The
    /// bytes are those of all parts, one after the other.
    fn put_handover(&self, parts: Vec<Bytes>) -> BoxFuture<'static, io::Result<()>>;

    /// What the process before this one kept, if it did. When this resolves it is durably gone from
    /// the disk: it is used once.
    ///
    /// The error is `InvalidData` where it is not what was written.
    fn take_handover(&self) -> BoxFuture<'static, io::Result<Option<Bytes>>>;
}

/// One log. Records have sequence numbers that count up by one, over restarts too.
pub trait Log: Send + Sync + fmt::Debug {
    /// Adds a record. When this resolves to its number, it is as durable as the journal is set to
    /// make it, and stays so until [`Log::finish`]. The record may be written even if the future is
    /// dropped: nobody finishes it then before a restart.
    fn append(&self, batch: Bytes, items: u64) -> BoxFuture<'static, Result<u64, Unwritten>>;

    /// Nothing is left to do for this record. Takes no time and cannot fail: should the process be
    /// killed before the next checkpoint, the record is there again.
    fn finish(&self, record: u64);

    /// The bytes of a record that is not finished.
    fn read(&self, record: u64) -> BoxFuture<'static, Result<Bytes, Unreadable>>;

    /// Marks each of these records: how far tries of it came. The mark survives the death of this
    /// process (not of the machine) once this resolves.
    fn set_attempts(&self, attempts: Vec<(u64, u8)>) -> BoxFuture<'static, io::Result<()>>;

    /// The records that are not finished, from this number on, oldest first, at most `most`.
    fn unfinished(&self, from: u64, most: usize) -> Vec<Unfinished>;

    /// The number of the first record that this process adds: what is below was there at the start.
    fn first_new(&self) -> u64;

    /// The number of the record that is added next.
    fn next(&self) -> u64;

    /// Whether what was written then is too old to be sent: the pipeline finishes and counts it.
    fn is_expired(&self, written: SystemTime) -> bool {
        let _nothing_is = written;
        false
    }

    /// How much is in it.
    fn fill(&self) -> LogFill;

    /// What was lost to damage before it was opened.
    fn loss(&self) -> Loss {
        Loss::default()
    }
}

/// What a log has lost to damage, as far as that is known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Loss {
    /// Items of acknowledged records that are lost.
    pub items: u64,
    /// Acknowledged records that are lost, and of which nobody knows how many items they had: not in
    /// `items`.
    pub records: u64,
    /// Records and files that are not whole, of which nobody knows whether anything in them was
    /// acknowledged and is not finished.
    pub doubtful: u64,
}

/// A record that is not finished.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unfinished {
    /// Its number.
    pub record: u64,
    /// Its items.
    pub items: u64,
    /// Length of its batch.
    pub bytes: usize,
    /// What [`Log::set_attempts`] set last. For a record of which it set nothing 0, or 1 when a process
    /// did not end well that had it: then it may have been in flight. The pipeline has a meaning for
    /// other values, the log has none.
    pub attempts: u8,
    /// When it was written, by the wall clock.
    pub written: SystemTime,
}

/// How much is in a log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogFill {
    /// Records that are not finished.
    pub records: u64,
    /// Their items.
    pub items: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Bytes of its files.
    pub disk_bytes: u64,
}

/// Why a record was not added: its batch is not durable.
#[derive(Debug, thiserror::Error)]
pub enum Unwritten {
    /// The journal has as many bytes as it may have, or the disk is full. Both pass.
    #[error("the journal is full: {what}")]
    Full {
        /// Which bound was reached.
        what: &'static str,
    },
    /// The disk does not take it. May pass.
    #[error("the journal cannot write")]
    Failed(#[source] io::Error),
    /// The journal is closed.
    #[error("the journal is closed")]
    Closed,
}

/// Why a record has no bytes.
#[derive(Debug, thiserror::Error)]
pub enum Unreadable {
    /// It was damaged on the disk, or is finished: there is nothing to wait for.
    #[error("record {record} is damaged or gone")]
    Damaged {
        /// Its number.
        record: u64,
    },
    /// The disk does not give it. May pass.
    #[error("the journal cannot read")]
    Failed(#[source] io::Error),
}

/// A batch that failed every time.
#[derive(Clone, Debug)]
pub struct Poison {
    /// The pipeline's name.
    pub pipeline: String,
    /// What it carries.
    pub signal: Signal,
    /// The request, as it was accepted.
    pub request: Bytes,
    /// Its items.
    pub items: u64,
    /// How often it was tried.
    pub attempts: u8,
    /// When it was accepted.
    pub accepted: SystemTime,
    /// What happened each time: a sentence without a full stop.
    pub reason: String,
}

/// Where batches are put that must not be tried again by themselves.
pub trait Shelf: Send + Sync + fmt::Debug {
    /// Puts one there. Resolves once it is durable.
    fn put(&self, poison: Poison) -> BoxFuture<'static, io::Result<()>>;
}

/// What was given up because it is older than the journal keeps anything, until somebody tells: after an
/// outage that is a lot at once, and one line for each batch would say no more.
#[derive(Debug, Default)]
pub(crate) struct TooOld(Mutex<(u64, u64)>);

impl TooOld {
    /// One batch.
    pub(crate) fn add(&self, in_it: u64) {
        let (batches, items) = &mut *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *batches += 1;
        *items += in_it;
    }

    /// A line, if there was any since the last one.
    pub(crate) fn tell(&self, pipeline: &str, exporter: Option<&str>) {
        let mut sums = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (batches, items) = std::mem::take(&mut *sums);
        drop(sums);
        if batches > 0 {
            tracing::warn!(
                pipeline,
                exporter,
                batches,
                items,
                "batches are older than the journal keeps them, items given up"
            );
        }
    }
}

/// The number after the last record that is in the log now. Usually the first new one; when a
/// pipeline is built anew on logs that are open, what the one before it left is below, too.
pub(crate) fn end_of(log: &dyn Log) -> u64 {
    /// Looked at in one go.
    const PAGE: usize = 1024;
    let mut end = log.first_new();
    while let Some(last) = log.unfinished(end, PAGE).last() {
        end = last.record + 1;
    }
    end
}
