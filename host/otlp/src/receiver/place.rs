//! Places for admission to the pipeline. The pipeline admits waiting requests in the order of
//! arrival, so a connection with many requests would push the others back. So no more requests wait
//! there than the pipeline has places for; the others wait here, each connection in turn.

use std::sync::Arc;

use spandrel_wire::Signal;

use super::budget::WAIT;
use super::fair::{self, Connection, Fair, Rule};
use crate::status::Unread;

/// The places for admission to the pipelines, by signal.
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

    /// Returns true if a request of this connection need not even be read: its turn would not come
    /// in time.
    pub(crate) fn is_hopeless(&self, signal: Signal, connection: Connection) -> bool {
        self.of(signal).is_hopeless(connection, WAIT)
    }

    /// Waits for one of the `places` that the pipeline of a signal has.
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
