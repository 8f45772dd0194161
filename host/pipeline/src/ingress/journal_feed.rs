//! The way of admitted requests to the journal.

use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};

use crate::egress::ReservedBatch;
use crate::refused::Refused;
use crate::retries::RetryQueue;

/// The number of requests between the senders and the disk, beside those that are being written.
/// Their bytes are bounded by the room that was taken for them in the queues.
const INPUT: usize = 256;

/// A request that is to be journaled, and the channel for its answer.
#[derive(Debug)]
pub(super) struct AppendRequest {
    pub(super) reserved: ReservedBatch,
    pub(super) answer: oneshot::Sender<Result<(), Refused>>,
}

/// The way of admitted requests to the journal.
#[derive(Debug)]
pub(crate) struct JournalFeed {
    input: mpsc::Sender<AppendRequest>,
    retries: Arc<RetryQueue>,
}

impl JournalFeed {
    /// Makes the way, and its end.
    pub(super) fn new(retries: Arc<RetryQueue>) -> (Self, mpsc::Receiver<AppendRequest>) {
        let (input, end) = mpsc::channel(INPUT);
        (Self { input, retries }, end)
    }

    /// Returns true if the stages sent so much back that nothing more may come in.
    pub(super) fn is_full(&self) -> bool {
        self.retries.is_full()
    }

    /// Waits for a place; `None` if the way is closed.
    pub(super) async fn reserve(&self) -> Option<mpsc::Permit<'_, AppendRequest>> {
        self.input.reserve().await.ok()
    }
}
