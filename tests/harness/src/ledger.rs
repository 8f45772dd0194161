//! The ledger that the collector prints in its last line.

use anyhow::{Result, ensure};

use crate::log::Line;

/// The counts of all items that reached the collector, by their fate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ledger {
    /// Items that senders offered.
    pub received: u64,
    /// Items that were refused to their sender.
    pub refused: u64,
    /// Items that a plugin made.
    pub created: u64,
    /// Items that a backend accepted.
    pub exported: u64,
    /// Items dropped with a reason.
    pub dropped: u64,
    /// The dropped items for which there was no room, while another exporter took them.
    pub overflowed: u64,
    /// Items abandoned at the deadline of the drain.
    pub abandoned: u64,
    /// Items that passed while the exporter was absent.
    pub missed: u64,
    /// Items that plugins still hold.
    pub held: u64,
    /// Items still in a queue.
    pub queued: u64,
    /// Items that came from the journal of an earlier process.
    pub replayed: u64,
    /// Items that waited on disk for the exporter at the start.
    pub recovered: u64,
    /// Items of batches that failed every time.
    pub quarantined: u64,
    /// Items that were damaged in the journal.
    pub damaged: u64,
    /// Items that stay in the journal.
    pub journaled: u64,
    /// Items that stay on disk for the exporter.
    pub on_disk: u64,
}

impl Ledger {
    /// Reads it from its log line. Returns `None` if one of the counts that each ledger has is
    /// missing. The other counts are zero if they are missing.
    pub fn read(line: &Line) -> Option<Self> {
        let some = |name| line.count(name).unwrap_or_default();
        Some(Self {
            received: line.count("received")?,
            refused: line.count("refused")?,
            created: some("created"),
            exported: line.count("exported")?,
            dropped: line.count("dropped")?,
            overflowed: some("overflowed"),
            abandoned: line.count("abandoned")?,
            missed: some("missed"),
            held: line.count("held")?,
            queued: line.count("queued")?,
            replayed: some("replayed"),
            recovered: some("recovered"),
            quarantined: some("quarantined"),
            damaged: some("damaged"),
            journaled: some("journaled"),
            on_disk: some("on_disk"),
        })
    }

    /// Checks that everything is accounted for and nothing is left inside.
    ///
    /// # Errors
    /// Returns an error if that is not so; the message shows the ledger.
    pub fn check(&self) -> Result<()> {
        let left = self.held + self.queued;
        ensure!(left == 0, "something is left inside: {self:?}");
        let into = self.received + self.created + self.replayed + self.recovered;
        let kept = self.quarantined + self.damaged + self.journaled + self.on_disk;
        let out = self.refused + self.exported + self.dropped + self.abandoned + self.missed;
        ensure!(into == out + kept, "the ledger does not balance: {self:?}");
        Ok(())
    }
}
