//! What can be set.

use std::path::PathBuf;
use std::time::Duration;

/// The journal of one pipeline.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// The directory of this pipeline; made when there is none.
    pub dir: PathBuf,
    /// When a record of the ingress log counts as written. The egress logs always sync: what goes
    /// there is finished in the ingress log, where it may have been on the disk already.
    pub sync: Sync,
    /// Bytes on the disk that all logs of the pipeline may have together. 10 GiB: an hour of
    /// 2.5 MiB/s, and little enough for the root disk of a small machine. An eighth of it is kept
    /// for the egress logs, so that what waits for a backend can always leave the ingress log.
    pub max_bytes: u64,
    /// Records older than this are finished when the journal opens, and each minute those of
    /// exporters that nobody has any more; the pipeline does it for what waits in it. None by default:
    /// nobody asked us to forget.
    pub max_age: Option<Duration>,
    /// Bytes of a segment, at most a 32nd of `max_bytes`, so that four fit in what is kept for the
    /// egress logs. 16 MiB: to fill one with zeros takes
    /// a slow disk a quarter of a second, and one that is pinned by a single record costs little.
    pub segment_bytes: u64,
    /// Refuse to open a journal with damage, instead of counting what it cost.
    pub strict: bool,
    /// How long to wait before a disk that was full or failed is tried again: soon enough that
    /// senders hardly notice, rare enough to cost nothing.
    pub retry_after: Duration,
}

/// When a record counts as written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sync {
    /// Once it is on the disk: nothing acknowledged is lost to a power failure.
    Group,
    /// Once the system has it: survives the death of the process. It is on the disk after at most
    /// this long.
    Interval(Duration),
    /// Once the system has it, which brings it to the disk when it likes.
    None,
}

/// The smallest segment: headers, and a few usual requests.
const MIN_SEGMENT: u64 = 8 << 10;

impl Options {
    /// The defaults, in this directory.
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

    /// Bytes of a usual segment, in whole pages.
    pub(crate) fn segment(&self) -> u64 {
        let size = self.segment_bytes.min(self.max_bytes / 32).max(MIN_SEGMENT);
        size & !4095
    }

    /// Bytes of a checkpoint's file at the least: room for 4,000 ranges of finished records, so that
    /// a disk that is full can be made room on.
    pub(crate) fn slot(&self) -> u64 {
        (self.max_bytes / 256).clamp(4 << 10, 64 << 10) & !4095
    }

    /// What the ingress log leaves to the egress logs.
    pub(crate) fn reserved(&self) -> u64 {
        self.max_bytes / 8
    }
}
