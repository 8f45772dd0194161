//! The ledger as the collector prints it in its last line.

use anyhow::{Result, ensure};

use crate::log::Line;

/// Where every span went that reached the collector.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ledger {
    /// Items that senders offered.
    pub received: u64,
    /// Items whose sender was told no.
    pub refused: u64,
    /// Items that a plugin made.
    pub created: u64,
    /// Items that a backend has.
    pub exported: u64,
    /// Items let go with a reason.
    pub dropped: u64,
    /// Items given up at the deadline of the drain.
    pub abandoned: u64,
    /// Items that passed while the exporter was not there.
    pub missed: u64,
    /// Items that plugins still hold.
    pub held: u64,
    /// Items still in a queue.
    pub queued: u64,
}

impl Ledger {
    /// Reads it from the line that carries it; absent counts are not read as zero.
    pub fn read(line: &Line) -> Option<Self> {
        Some(Self {
            received: line.count("received")?,
            refused: line.count("refused")?,
            created: line.count("created").unwrap_or_default(),
            exported: line.count("exported")?,
            dropped: line.count("dropped")?,
            abandoned: line.count("abandoned")?,
            missed: line.count("missed").unwrap_or_default(),
            held: line.count("held")?,
            queued: line.count("queued")?,
        })
    }

    /// Whether everything is accounted for and nothing is left inside.
    ///
    /// # Errors
    /// When it is not; the message shows the ledger.
    pub fn check(&self) -> Result<()> {
        let left = self.held + self.queued;
        ensure!(left == 0, "something is left inside: {self:?}");
        let into = self.received + self.created;
        let out = self.refused + self.exported + self.dropped + self.abandoned + self.missed;
        ensure!(into == out, "the ledger does not balance: {self:?}");
        Ok(())
    }
}
