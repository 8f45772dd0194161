//! Slots for admission to the pipeline. The pipeline admits waiting requests in the order of
//! arrival, so a connection with many requests would push the others back. So no more requests wait
//! there than the pipeline has room for; the others wait here, each connection in turn.

use std::sync::Arc;

use spandrel_wire::Signal;

use super::budget::WAIT;
use super::fair::{self, ConnectionId, FairSemaphore, Rule};
use crate::status::RequestError;

/// The slots for admission to the pipelines, by signal.
#[derive(Debug)]
pub(crate) struct AdmissionSlots {
    traces: Arc<FairSemaphore>,
    metrics: Arc<FairSemaphore>,
    logs: Arc<FairSemaphore>,
}

impl AdmissionSlots {
    pub(crate) fn new() -> Self {
        let all = || FairSemaphore::new(usize::MAX, Rule::Whole);
        Self {
            traces: all(),
            metrics: all(),
            logs: all(),
        }
    }

    fn of(&self, signal: Signal) -> &Arc<FairSemaphore> {
        match signal {
            Signal::Traces => &self.traces,
            Signal::Metrics => &self.metrics,
            Signal::Logs => &self.logs,
        }
    }

    /// Waits for one of the `slots` that the pipeline of a signal has.
    pub(crate) async fn acquire(
        &self,
        signal: Signal,
        connection: ConnectionId,
        slots: usize,
    ) -> Result<fair::Permit, RequestError> {
        let semaphore = self.of(signal);
        semaphore.set_total(slots.max(1));
        let mut permit = semaphore.permit(connection);
        let granted = permit.grow_to(1, WAIT).await;
        granted.map_err(|_full| RequestError::Crowded)?;
        Ok(permit)
    }
}
