//! The interface to a journal: the durable logs of what a pipeline accepted and has not finished.
//!
//! A pipeline with a journal has one log at its entrance (*ingress*: requests as they were accepted)
//! and one behind its stages for each exporter (*egress*: batches that wait for a backend longer
//! than memory should hold them). A record is *finished* once nothing of it is left to do. Records
//! that are not finished are there again after the process was killed. The crate `spandrel-journal`
//! keeps the logs in files.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use spandrel_wire::Signal;

/// The logs of one pipeline, and the place for batches that must not be tried again.
#[derive(Clone, Debug)]
pub struct Durability {
    /// The logs.
    pub journal: Arc<dyn Journal>,
    /// The place for batches that failed every time.
    pub quarantine: Arc<dyn PoisonStore>,
}

/// The logs of one pipeline.
pub trait Journal: Send + Sync + fmt::Debug {
    /// Returns the log at the entrance.
    fn ingress(&self) -> Arc<dyn Log>;

    /// Returns the log of one exporter, by its name in the config; makes it if there is none yet.
    /// Each call returns the same log. Reads and writes files, so it is not for the data path.
    ///
    /// # Errors
    /// If its files can be neither read nor made.
    fn egress(&self, exporter: &str) -> io::Result<Arc<dyn Log>>;

    /// Keeps the handover of the stages for the next process. Resolves once it is durable. Its
    /// bytes are those of all parts, one after the other.
    fn put_handover(&self, parts: Vec<Bytes>) -> BoxFuture<'static, io::Result<()>>;

    /// Takes the handover that the process before this one kept, if it did. When this resolves, the
    /// handover is durably gone from the disk: it is used once.
    ///
    /// The error is `InvalidData` if the bytes are not those that were written.
    fn take_handover(&self) -> BoxFuture<'static, io::Result<Option<Bytes>>>;
}

/// One log. Records have sequence numbers that count up by one, over restarts too.
pub trait Log: Send + Sync + fmt::Debug {
    /// Adds a record. When this resolves to the record's number, the record is as durable as the
    /// journal is set to make it, and stays so until [`Log::finish`]. The record may be written
    /// even if the future is dropped; nobody finishes it then before a restart.
    fn append(&self, batch: Bytes, items: u64) -> BoxFuture<'static, Result<u64, AppendError>>;

    /// Marks a record as finished: nothing is left to do for it. Takes no time and cannot fail. If
    /// the process is killed before the next checkpoint, the record is there again.
    fn finish(&self, record: u64);

    /// Reads the bytes of a record that is not finished.
    fn read(&self, record: u64) -> BoxFuture<'static, Result<Bytes, RecordError>>;

    /// Sets the mark of each of these records, which counts the tries of it that failed. Once this
    /// resolves, the mark survives the death of this process (not of the machine).
    fn set_attempts(&self, attempts: Vec<(u64, u8)>) -> BoxFuture<'static, io::Result<()>>;

    /// Returns the records that are not finished, from this number on, oldest first, at most
    /// `most`.
    fn unfinished(&self, from: u64, most: usize) -> Vec<UnfinishedRecord>;

    /// Returns the number of the first record that this process adds. Lower records were there at
    /// the start.
    fn first_new(&self) -> u64;

    /// Returns the number of the record that is added next.
    fn next(&self) -> u64;

    /// Returns true if a batch that was written at this time is too old to be sent: the pipeline
    /// finishes and counts it.
    fn is_expired(&self, written: SystemTime) -> bool {
        let _nothing_is = written;
        false
    }

    /// Returns how much is in the log.
    fn fill(&self) -> LogFill;

    /// Returns the loss to damage before the log was opened.
    fn loss(&self) -> Loss {
        Loss::default()
    }
}

/// The loss of a log to damage, as far as it is known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Loss {
    /// Items of acknowledged records that are lost.
    pub items: u64,
    /// Acknowledged records that are lost, with an unknown number of items: not in `items`.
    pub records: u64,
    /// Records and files that are not whole. It is not known whether they had anything that was
    /// acknowledged and is not finished.
    pub doubtful: u64,
}

/// A record that is not finished.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnfinishedRecord {
    /// Its number.
    pub record: u64,
    /// Its items.
    pub items: u64,
    /// The length of its batch.
    pub bytes: usize,
    /// The mark that [`Log::set_attempts`] set last. If it never did, the mark is 0, or 1 if a
    /// process that had the record did not end well: the record may have been in flight then. Other
    /// values mean something to the pipeline, not to the log.
    pub attempts: u8,
    /// The time at which it was written, by the wall clock.
    pub written: SystemTime,
}

/// The fill of a log.
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

/// The reason why a record was not added: its batch is not durable.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// The journal has as many bytes as it may have, or the disk is full. Both may pass.
    #[error("the journal is full: {what}")]
    Full {
        /// The bound that was reached.
        what: &'static str,
    },
    /// The disk does not take it. This may pass.
    #[error("the journal cannot write")]
    Failed(#[source] io::Error),
    /// The journal is closed.
    #[error("the journal is closed")]
    Closed,
}

/// The reason why the bytes of a record cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// It was damaged on the disk, or is finished: waiting does not help.
    #[error("record {record} is damaged or gone")]
    Damaged {
        /// Its number.
        record: u64,
    },
    /// The disk does not give it. This may pass.
    #[error("the journal cannot read")]
    Failed(#[source] io::Error),
}

/// A batch that failed every time.
#[derive(Clone, Debug)]
pub struct Poison {
    /// The pipeline's name.
    pub pipeline: String,
    /// The signal that it carries.
    pub signal: Signal,
    /// The request, as it was accepted.
    pub request: Bytes,
    /// Its items.
    pub items: u64,
    /// The number of times that it was tried.
    pub attempts: u8,
    /// The time at which it was accepted.
    pub accepted: SystemTime,
    /// The outcome of the tries: a sentence without a full stop.
    pub reason: String,
}

/// The place for batches that the pipeline must not try again by itself.
pub trait PoisonStore: Send + Sync + fmt::Debug {
    /// Puts a batch there. Resolves once it is durable.
    fn put(&self, poison: Poison) -> BoxFuture<'static, io::Result<()>>;
}

/// Counts batches that were given up because they are older than the journal keeps anything, until
/// the next log line. After an outage there are many at once, and one line for each batch would say
/// no more.
#[derive(Debug, Default)]
pub(crate) struct ExpiredBatches(Mutex<(u64, u64)>);

impl ExpiredBatches {
    /// Adds one batch.
    pub(crate) fn add(&self, in_it: u64) {
        let (batches, items) = &mut *self.0.lock();
        *batches += 1;
        *items += in_it;
    }

    /// Logs one line, if there was any batch since the last line.
    pub(crate) fn tell(&self, pipeline: &str, exporter: Option<&str>) {
        let mut sums = self.0.lock();
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

/// Returns the number after the last record that is in the log now. Usually that is the first new
/// one. If a pipeline is built anew on logs that are open, the records that the one before it left
/// are below it, too.
pub(crate) fn end_of(log: &dyn Log) -> u64 {
    /// The number of records that are looked at in one go.
    const PAGE: usize = 1024;
    let mut end = log.first_new();
    while let Some(last) = log.unfinished(end, PAGE).last() {
        end = last.record + 1;
    }
    end
}
