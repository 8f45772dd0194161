//! A number of items, and how many of them a log keeps.

/// A number of items, by how many of them are on the disk. Items in neither log were made by
/// plugins, or stand in a pipeline without a journal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::ledger) struct Count {
    pub(in crate::ledger) items: u64,
    /// The number of these that are in a record of the ingress log.
    pub(in crate::ledger) journaled: u64,
    /// The number of these that are in a record of the egress log of the exporter in whose queue
    /// they stand.
    pub(in crate::ledger) on_disk: u64,
}

impl Count {
    /// Returns the number of items that are in no log.
    pub(in crate::ledger) fn loose(self) -> u64 {
        self.items.saturating_sub(self.journaled + self.on_disk)
    }

    /// Takes `items` of these, at most all; first those that are in no log.
    pub(super) fn take(&mut self, items: u64) -> Self {
        let items = items.min(self.items);
        let in_logs = items.saturating_sub(self.loose());
        let journaled = in_logs.min(self.journaled);
        let on_disk = in_logs - journaled;
        self.items -= items;
        self.journaled -= journaled;
        self.on_disk = self.on_disk.saturating_sub(on_disk);
        Self {
            items,
            journaled,
            on_disk,
        }
    }

    pub(super) fn add(&mut self, other: Self) {
        self.items += other.items;
        self.journaled += other.journaled;
        self.on_disk += other.on_disk;
    }
}
