//! The options of a journal.

use std::path::PathBuf;
use std::time::Duration;

/// The options for the journal of one pipeline.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// The directory of this pipeline; it is made if there is none.
    pub dir: PathBuf,
    /// The time when a record of the ingress log counts as written. The egress logs always sync: a
    /// record that goes there is finished in the ingress log, where it may have been on the disk
    /// already.
    pub sync: Sync,
    /// The bytes on the disk that all logs of the pipeline may use together. 10 GiB: an hour of 2.5
    /// MiB/s, and little enough for the root disk of a small machine. An eighth of it is reserved
    /// for the egress logs, so that records that wait for a backend can always leave the ingress
    /// log.
    pub max_bytes: u64,
    /// The age at which records expire. Older records are finished when the journal opens, and
    /// those of exporters that no longer exist are finished each minute. The pipeline does it for
    /// records that wait in it. `None` by default: nobody asked us to forget.
    pub max_age: Option<Duration>,
    /// Bytes of a segment, at most a 32nd of `max_bytes`, so that four fit in the part that is
    /// reserved for the egress logs. 16 MiB: filling one with zeros takes a slow disk a quarter of
    /// a second, and one that is pinned by a single record costs little.
    pub segment_bytes: u64,
    /// True if a journal with damage is not opened. Otherwise it is opened, and what was lost is
    /// counted.
    pub strict: bool,
    /// The time before a disk that was full or failed is tried again: short enough that senders
    /// hardly notice, long enough to cost nothing.
    pub retry_after: Duration,
}

/// The time when a record counts as written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sync {
    /// Once it is on the disk, so that nothing acknowledged is lost to a power failure.
    Group,
    /// Once the system has it, so that it survives the death of the process. It is on the disk
    /// after at most this long.
    Interval(Duration),
    /// Once the system has it. The system writes it to the disk when it likes.
    None,
}

/// The smallest segment in bytes: headers, and a few usual requests.
const MIN_SEGMENT: u64 = 8 << 10;

impl Options {
    /// Returns the defaults, in this directory.
    #[must_use]
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self {
            dir: dir.into(),
            sync: Sync::Group,
            max_bytes: 10 << 30,
            max_age: None,
            segment_bytes: 16 << 20,
            strict: false,
            retry_after: Duration::from_millis(100),
        }
    }

    /// Returns the bytes of a usual segment, in whole pages.
    pub(crate) fn segment_size(&self) -> u64 {
        let size = self.segment_bytes.min(self.max_bytes / 32).max(MIN_SEGMENT);
        size & !4095
    }

    /// Returns the smallest size of a checkpoint file in bytes: room for 4,000 ranges of finished
    /// records, so that a full disk can be made room on.
    pub(crate) fn checkpoint_file_size(&self) -> u64 {
        (self.max_bytes / 256).clamp(4 << 10, 64 << 10) & !4095
    }

    /// Returns the bytes that the ingress log leaves to the egress logs.
    pub(crate) fn reserved_bytes(&self) -> u64 {
        self.max_bytes / 8
    }
}
