//! The switch by which a pipeline closes its admission.

use tokio::sync::watch;

use crate::refused::Refused;

/// The switch by which a pipeline closes its admission, for good.
#[derive(Debug)]
pub(super) struct DrainSwitch(watch::Sender<bool>);

impl DrainSwitch {
    pub(super) fn new() -> Self {
        Self(watch::Sender::new(false))
    }

    /// Closes the admission. Everybody who waits is told at once.
    pub(super) fn close(&self) {
        self.0.send_replace(true);
    }

    pub(super) fn is_closed(&self) -> bool {
        *self.0.borrow()
    }

    /// Resolves when the admission is closed.
    pub(super) async fn closed(&self) {
        // This cannot fail: the sender of the channel is `self`.
        drop(self.0.subscribe().wait_for(|closed| *closed).await);
    }

    pub(super) fn subscribe(&self) -> watch::Receiver<bool> {
        self.0.subscribe()
    }

    /// Waits for `wait`, unless the admission is closed or comes to be.
    pub(super) async fn unless_closed<T, E: From<Refused>>(
        &self,
        wait: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E> {
        if self.is_closed() {
            return Err(Refused::Draining.into());
        }
        tokio::select! {
            done = wait => done,
            () = self.closed() => Err(Refused::Draining.into()),
        }
    }
}
