//! The records of the ingress log that some items are in.

use std::collections::BTreeSet;

use super::Tally;
use crate::completion::Guard;

impl Tally {
    /// The stages see them from now on.
    pub(crate) fn see(&self) {
        self.guards.iter().for_each(Guard::see);
    }

    /// The records of the ingress log that have them; none when some item is in no such record, or
    /// when one of the records has failed.
    pub(crate) fn records(&self) -> Option<BTreeSet<u64>> {
        if self.count.journaled < self.count.items || self.guards.is_empty() {
            return None;
        }
        let mut all = BTreeSet::new();
        for guard in &self.guards {
            all.append(&mut guard.accepted()?);
        }
        Some(all)
    }
}
