//! The memory that all requests in flight may take together.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use crate::status::Unread;

/// Permits are counted in this unit, so that budgets above 4 GiB fit the semaphore's numbers.
const UNIT: usize = 1024;

/// How long a request waits for room. Requests that wait may hold part of what others wait for, so
/// the wait must end by itself; a second is enough for a burst to pass.
const WAIT: Duration = Duration::from_secs(1);

/// Memory for requests, given out by the lease.
#[derive(Debug)]
pub(crate) struct Budget {
    free: Arc<Semaphore>,
}

impl Budget {
    /// A budget of about this many bytes.
    pub(crate) fn new(bytes: usize) -> Self {
        let units = bytes.div_ceil(UNIT).min(Semaphore::MAX_PERMITS);
        Self {
            free: Arc::new(Semaphore::new(units)),
        }
    }

    /// A lease of nothing yet.
    pub(crate) fn lease(&self) -> Lease {
        Lease {
            free: Arc::clone(&self.free),
            held: None,
        }
    }
}

/// What one request holds of the budget; given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Lease {
    free: Arc<Semaphore>,
    held: Option<OwnedSemaphorePermit>,
}

impl Lease {
    /// Holds at least `bytes` from now on, or tells the sender to come back.
    pub(crate) async fn grow_to(&mut self, bytes: usize) -> Result<(), Unread> {
        let held = self
            .held
            .as_ref()
            .map_or(0, OwnedSemaphorePermit::num_permits);
        let lacking = bytes.div_ceil(UNIT).saturating_sub(held);
        if lacking == 0 {
            return Ok(());
        }
        let lacking = u32::try_from(lacking).map_err(|_| Unread::Busy)?;
        let acquired = timeout(WAIT, Arc::clone(&self.free).acquire_many_owned(lacking)).await;
        // The semaphore is never closed: an error can only be the time.
        let Ok(Ok(more)) = acquired else {
            return Err(Unread::Busy);
        };
        match &mut self.held {
            Some(held) => held.merge(more),
            None => self.held = Some(more),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Room is never given twice, a request that gets none is told so, and what was held comes back.
    #[tokio::test(start_paused = true)]
    async fn leases_never_exceed_the_budget() {
        let budget = Budget::new(10 * UNIT);
        let mut first = budget.lease();
        let mut second = budget.lease();
        first.grow_to(6 * UNIT).await.expect("room for the first");
        first.grow_to(5 * UNIT).await.expect("held already");
        second.grow_to(4 * UNIT).await.expect("room for the second");
        assert!(matches!(
            second.grow_to(4 * UNIT + 1).await,
            Err(Unread::Busy)
        ));
        drop(first);
        second.grow_to(10 * UNIT).await.expect("all of it");
    }

    /// A waiting request goes on as soon as another ends.
    #[tokio::test(start_paused = true)]
    async fn a_request_waits_for_room() {
        let budget = Budget::new(UNIT);
        let mut first = budget.lease();
        first.grow_to(1).await.expect("free");
        let mut second = budget.lease();
        let (grown, ()) = tokio::join!(second.grow_to(1), async {
            tokio::task::yield_now().await;
            drop(first);
        });
        grown.expect("freed in time");
    }
}
