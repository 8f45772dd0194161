//! The durable log of accepted batches, in files.
//!
//! [`Store`] has the logs of one pipeline, as `spandrel_pipeline::journal` asks for them: the one
//! at its door (ingress), and one for each exporter (egress). An append resolves once its record is
//! on the disk ([`Sync`] can ask for less), and the record is there, with its bytes, whatever is
//! killed or switched off, until it is finished.
//!
//! ```text
//! append -> queue -> commit thread: all that waits, one write, one fdatasync -> the numbers
//! finish -> a bit in memory -> keeper thread: a checkpoint each 100 ms, the end of segments
//! ```
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
//! and nothing else, and a full disk is met between two records. Its first and its last sector are
//! its header: number, place in the order, salt, next record number, length, checksum. Between
//! them are records, at multiples of 16 bytes: a header of 48 bytes (number, length, items, time,
//! below which number all were acknowledged, checksum of the payload, and a checksum of its own),
//! then the payload. Both checksums (CRC32C) begin with the salt, which is new with each use of the
//! file: what an earlier use left, or a sender made look like a record, is none. When all records
//! of a segment are finished it is used again or removed, wherever it is in the order; the
//! checkpoint that says so is on the disk, twice, before.
//!
//! A *checkpoint* has the numbers that are finished (all below one, and ranges above it), how often
//! records were tried, the next number, and whether the log was closed after it.
//!
//! # Recovery
//! All segments are read from their beginning to their end. Where there is no good record the
//! search goes on at the next place where one could be. Numbers are consecutive, so a number that
//! is neither there nor finished is missing: it is *lost* when a checkpoint or a later record says
//! that it was acknowledged, and else was cut off while it was written, which is no loss. What a
//! segment has from the number on that a later one began with was never acknowledged. So nothing of
//! it is ever changed, and an opening that is cut off can be done again.
//!
//! What the disk does not give, as opposed to what it gives wrong, may come back: such a segment is
//! left as it is, and until a start that can read it nothing is lost and nothing missing is
//! finished. One exception: of a segment whose two headers were both not given after the death of
//! a process, records that no checkpoint knows of (those of its last 100 ms) are void once new ones
//! have their numbers.
//!
//! # When the disk fails
//! No room (of the disk or of [`Options::max_bytes`]): appends are refused as full, and tried again
//! after [`Options::retry_after`]; reading and finishing go on. A write or a sync fails: the segment
//! is never written or used again, and what was to be acknowledged goes to another at once; when that
//! fails too the senders are told. What was acknowledged before its sync ([`Sync::Interval`],
//! [`Sync::None`]) is moved when a sync of it fails: none is done twice.

#![forbid(unsafe_code)]

mod arbitrary;
mod counters;
mod finished;
mod format;
mod inbox;
mod keeper;
mod log;
mod options;
mod prepare;
mod read;
mod recover;
mod scan;
#[cfg(test)]
mod sim;
mod state;
mod store;
pub mod vfs;
mod writer;

#[doc(hidden)]
pub use arbitrary::recover_bytes;
pub use counters::Counters;
pub use options::{Options, Sync};
pub use recover::RecoveredLog;
pub use store::{OpenError, Recovered, Store};
