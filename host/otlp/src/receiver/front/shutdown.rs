//! The two steps in which a receiver ends: connections are told to go away, and requests are
//! refused. A receiver that another one took over from takes only the first.

use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

/// The steps that a receiver has taken towards its end. Clones share them.
#[derive(Clone, Debug)]
pub(crate) struct Shutdown {
    /// Cancelled when connections are told to go away; a child of `draining`.
    leaving: CancellationToken,
    /// Cancelled when requests are refused.
    draining: CancellationToken,
}

impl Shutdown {
    pub(crate) fn new() -> Self {
        let draining = CancellationToken::new();
        Self {
            leaving: draining.child_token(),
            draining,
        }
    }

    /// Tells connections to go away; another receiver takes over.
    pub(crate) fn leave(&self) {
        self.leaving.cancel();
    }

    /// Tells connections to go away and refuses requests; nobody takes over.
    pub(crate) fn drain(&self) {
        self.draining.cancel();
    }

    /// Returns true if connections are told to go away.
    pub(crate) fn is_leaving(&self) -> bool {
        self.leaving.is_cancelled()
    }

    /// Returns true if requests are refused.
    pub(crate) fn is_draining(&self) -> bool {
        self.draining.is_cancelled()
    }

    /// Resolves when connections are told to go away.
    pub(crate) async fn leaving(&self) {
        self.leaving.cancelled().await;
    }

    /// The same as [`Self::leaving`], for a future that outlives this value.
    pub(crate) fn leaving_owned(&self) -> WaitForCancellationFutureOwned {
        self.leaving.clone().cancelled_owned()
    }

    /// Resolves when requests are refused.
    pub(crate) async fn draining(&self) {
        self.draining.cancelled().await;
    }
}
