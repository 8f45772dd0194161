//! The durable log of accepted batches, in files.
//!
//! [`Store`] holds the logs of one pipeline, as `spandrel_pipeline::journal` asks for them: one for
//! accepted batches (ingress), and one for each exporter (egress). An append resolves once its
//! record is on the disk ([`Sync`] can ask for less). From then on the record is there, with its
//! bytes, whatever is killed or switched off, until it is finished.
//!
//! ```text
//! append -> queue -> writer: all that waits, one write, one fdatasync -> the LSNs
//! finish -> index in memory -> checkpointer: a checkpoint each 100 ms, the end of segments
//! ```
//! A record's number is its *LSN* (log sequence number). The writer and the checkpointer of a log
//! have a thread each. One thread of the journal allocates segments ahead of their use.
//!
//! The modules, from the top: `store` has all logs, `log` has one log and its threads, `recovery`
//! reads what is left of a log, `writer` and `checkpointer` write it, `segments` has its index in
//! memory and its files, and `format` is about bytes.
//!
//! # Files
//! ```text
//! DIR/lock                            names the process that has the directory
//! DIR/handover                        what the stages knew and held at a clean stop; gone once it is read
//! DIR/ingress/checkpoint-0 .. -3      0 and 1 synced, before a segment goes; 2 and 3 not, each 100 ms
//! DIR/ingress/segment-0000000000000000 ..
//! DIR/egress/NAME/..                  the same for each exporter, `/` and the like in hexadecimal
//! ```
//! A *segment* is allocated and filled with zeros before it is needed, so that a sync writes data
//! and nothing else, and a full disk is noticed between two records. Its first and its last sector
//! are its header: number, place in the order, salt, LSN of the next record, length, checksum.
//! Between them are records, at multiples of 16 bytes: a header of 48 bytes (LSN, length, items,
//! time, commit LSN, checksum of the payload, and a checksum of its own), then the payload. All
//! records below the *commit LSN* were acknowledged when this one was written. Both checksums
//! (CRC32C) begin with the salt, which is new with each use of the file. So bytes that an earlier
//! use left, or that a sender made look like a record, are not taken for one. When all records of a
//! segment are finished, it is used again or removed, wherever it is in the order. The checkpoint
//! that says so is on the disk, twice, before that.
//!
//! A *checkpoint* has the records that are finished (all below a low watermark, and ranges above
//! it), the number of times records were tried, the next LSN, and whether the log was closed after
//! it.
//!
//! # Recovery
//! All segments are read from their beginning to their end. Where there is no good record, the
//! search continues at the next place where one could be. LSNs are consecutive, so a record that is
//! neither there nor finished is missing. It is *lost* if it is below the next LSN of a checkpoint
//! or the commit LSN of a record: then it was acknowledged. Otherwise it was cut off while it was
//! written, which is no loss. The records of a segment from the LSN on with which a later segment
//! began were never acknowledged. So recovery changes nothing in a segment, and an opening that is
//! cut off can be done again.
//!
//! Bytes that the disk cannot read, unlike bytes that are wrong, may come back. Such a segment is
//! left as it is. Until a start can read it, no record counts as lost and no missing record is
//! finished. There is one exception. If neither header of a segment can be read after the death of
//! a process, its records that no checkpoint knows of (those of the last 100 ms) are void once new
//! records have their LSNs.
//!
//! # When the disk fails
//! If there is no room (on the disk or within [`Options::max_bytes`]), appends are refused as full,
//! and the journal tries again after [`Options::retry_after`]. Reading and finishing go on. If a
//! write or a sync fails, the segment is never written or used again, and the records that were to
//! be acknowledged go to another segment at once. If that fails too, the senders get the error.
//! Records that were acknowledged before their sync ([`Sync::Interval`], [`Sync::None`]) are moved
//! if a sync of them fails: no sync is done twice.

#![forbid(unsafe_code)]

mod checkpointer;
mod counters;
mod drop_guard;
mod format;
mod line_limiter;
mod log;
mod options;
mod quota;
mod recovery;
mod resources;
mod segments;
#[cfg(test)]
mod sim;
mod store;
pub mod vfs;
mod write_error;
mod writer;

pub use counters::Counters;
pub use options::{Options, Sync};
pub use recovery::{LogRecovery, OpenError, Recovery};
pub use store::Store;
