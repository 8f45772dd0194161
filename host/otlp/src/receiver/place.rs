//! Places at the pipeline's door. The pipeline takes who waits there in the order of arrival, so a
//! connection with many requests would push the others back. So no more are let to the door than
//! the pipeline has places for; the others wait here, each connection in turn.

use std::sync::Arc;

use spandrel_wire::Signal;

use super::budget::WAIT;
use super::fair::{self, Connection, Fair, Rule};
use crate::status::Unread;

/// See the module.
#[derive(Debug)]
pub(crate) struct Places {
    traces: Arc<Fair>,
    metrics: Arc<Fair>,
    logs: Arc<Fair>,
}

impl Places {
    pub(crate) fn new() -> Self {
        let all = || Fair::new(usize::MAX, Rule::Whole);
        Self {
            traces: all(),
            metrics: all(),
            logs: all(),
        }
    }

    fn of(&self, signal: Signal) -> &Arc<Fair> {
        match signal {
            Signal::Traces => &self.traces,
            Signal::Metrics => &self.metrics,
            Signal::Logs => &self.logs,
        }
    }

    /// Whether a request of this connection need not even be read: its turn would not come in time.
    pub(crate) fn is_hopeless(&self, signal: Signal, connection: Connection) -> bool {
        self.of(signal).is_hopeless(connection, WAIT)
    }

    /// Waits for a place at a door that has so many.
    pub(crate) async fn place(
        &self,
        signal: Signal,
        connection: Connection,
        places: usize,
    ) -> Result<fair::Lease, Unread> {
        let door = self.of(signal);
        door.set_total(places.max(1));
        let mut place = door.lease(connection);
        let granted = place.grow_to(1, WAIT).await;
        granted.map_err(|_full| Unread::Crowded)?;
        Ok(place)
    }
}
