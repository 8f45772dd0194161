//! The expiry of records that wait for their turn after a start, and become too old meanwhile. They
//! are in no books yet, and get into none, like records that are too old when the journal opens.

use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};

use super::{PAGE, Replay};
use crate::journal::Unfinished;

/// The time between two checks: little against any age that makes sense.
const LOOK: Duration = Duration::from_secs(60);

impl Replay {
    /// Gives up records that are too old, until the door is closed.
    pub(super) async fn expire(&self) {
        let mut looks = interval(LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                () = self.door.closed() => break,
                _ = looks.tick() => self.look().await,
            }
            self.too_old.tell(self.ledger.pipeline(), None);
        }
        self.too_old.tell(self.ledger.pipeline(), None);
    }

    async fn look(&self) {
        loop {
            // Earlier records are on their way. Between this line and the end of the page nothing
            // else of the replay runs, because it is one task.
            let page = self.log.unfinished(self.next.load(Ordering::Relaxed), PAGE);
            // The records are in the order of their age.
            let waits = |record: &&Unfinished| {
                record.record < self.end && !self.held.contains(&record.record)
            };
            let waiting = page.iter().filter(waits);
            let old = waiting.take_while(|record| self.expire_one(record)).count();
            if old < PAGE {
                return;
            }
            tokio::task::yield_now().await;
        }
    }

    /// Gives up a record that is too old and in no books. Returns true if it was too old.
    pub(super) fn expire_one(&self, record: &Unfinished) -> bool {
        let is_old = self.log.is_expired(record.written);
        if is_old {
            self.log.finish(record.record);
            self.too_old.add(record.items);
        }
        is_old
    }
}
