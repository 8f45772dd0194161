//! The records of the ingress log that some items are in.

use std::collections::BTreeSet;

use super::Tally;
use crate::completion::Guard;

impl Tally {
    /// Marks that the stages see these items from now on.
    pub(crate) fn see(&self) {
        self.guards.iter().for_each(Guard::see);
    }

    /// Returns the records of the ingress log that have these items; `None` if some item is in no
    /// such record, or if one of the records has failed.
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
