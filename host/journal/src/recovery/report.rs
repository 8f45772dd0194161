//! The report of what was in a journal when it was opened.

use std::path::Path;
use std::time::Duration;

use spandrel_pipeline::journal::LogFill;

/// The contents of one log at the start, and what was lost.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogRecovery {
    /// The exporter of an egress log; `None` for the ingress log.
    pub exporter: Option<String>,
    /// Records that are not finished.
    pub records: u64,
    /// Items of these records.
    pub items: u64,
    /// Bytes of these records.
    pub bytes: u64,
    /// Records that were acknowledged, not finished, and are damaged or gone. The number is exact.
    pub lost: u64,
    /// Items of the lost records whose header is still good.
    pub lost_items: u64,
    /// Lost records that have no good header, so that the number of their items is unknown.
    pub lost_without_items: u64,
    /// Records that are not whole and that no checkpoint or later record mentions. They were cut
    /// off while they were written, or were acknowledged just before the end of the process and
    /// damaged then.
    pub doubtful: u64,
    /// Bytes of records whose writing was cut off. Nobody was told that they are safe.
    pub torn_bytes: u64,
    /// Records that had expired, and are finished now.
    pub expired: u64,
    /// Items of the expired records.
    pub expired_items: u64,
    /// Headers of segments and checkpoints that were damaged.
    pub damaged_headers: u64,
    /// Segments that the disk could read in part or not at all. They are left as they are, and read
    /// again at the next start.
    pub unread: u64,
    /// Records that may be in these segments. They count neither as there nor as lost.
    pub unread_records: u64,
    /// True if the last process that had the log closed it, or if there was none.
    pub ended_well: bool,
}

impl LogRecovery {
    /// Returns true if something was lost, or cannot be read.
    pub(super) fn is_damaged(&self) -> bool {
        self.lost > 0 || self.damaged_headers > 0 || self.unread > 0
    }

    /// Sets the figures of the records that are not finished.
    pub(super) fn set_fill(&mut self, fill: LogFill) {
        self.records = fill.records;
        self.items = fill.items;
        self.bytes = fill.bytes;
    }
}

/// The contents of a journal when it was opened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovery {
    /// The ingress log first, then the egress logs by the names of their exporters.
    pub logs: Vec<LogRecovery>,
    /// The time that it took.
    pub elapsed: Duration,
}

impl Recovery {
    /// Returns true if the last process closed all of its logs.
    #[must_use]
    pub fn ended_well(&self) -> bool {
        self.logs.iter().all(|log| log.ended_well)
    }

    /// Returns the number of acknowledged records that are lost.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.sum(|log| log.lost)
    }

    fn sum(&self, field: fn(&LogRecovery) -> u64) -> u64 {
        self.logs.iter().map(field).sum()
    }

    /// Logs what was in the journal in this directory.
    pub(crate) fn report(&self, dir: &Path) {
        let elapsed_ms = u64::try_from(self.elapsed.as_millis()).unwrap_or(u64::MAX);
        let (records, items) = (self.sum(|log| log.records), self.sum(|log| log.items));
        let (expired, torn) = (
            self.sum(|log| log.expired_items),
            self.sum(|log| log.torn_bytes),
        );
        let ended_well = self.ended_well();
        let dir = dir.display();
        tracing::info!(
            %dir, elapsed_ms, records, items, expired, torn, ended_well,
            "journal opened"
        );
        for log in self.logs.iter().filter(|log| log.expired > 0) {
            let exporter = log.exporter.as_deref().unwrap_or_default();
            let (records, items) = (log.expired, log.expired_items);
            tracing::warn!(%dir, exporter, records, items, "journal records expired");
        }
        for log in self.logs.iter().filter(|log| log.is_damaged()) {
            let exporter = log.exporter.as_deref().unwrap_or_default();
            let (lost, headers) = (log.lost, log.damaged_headers);
            let (unread, unread_records) = (log.unread, log.unread_records);
            tracing::error!(
                %dir, exporter, lost, headers, unread, unread_records,
                "journal damaged"
            );
        }
    }
}
