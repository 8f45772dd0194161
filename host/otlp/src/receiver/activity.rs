//! Whether a connection has requests open, for its idle limit.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tonic::Status;
use tonic::body::Body;

/// The requests that a connection has open; every change of their number is seen.
#[derive(Clone, Debug)]
pub(crate) struct Activity {
    requests: Arc<watch::Sender<Requests>>,
}

#[derive(Debug, Default)]
struct Requests {
    open: usize,
    /// Whether there was any.
    any: bool,
}

impl Activity {
    pub(crate) fn new() -> Self {
        Self {
            requests: Arc::default(),
        }
    }

    /// Counts a request until the guard is dropped.
    pub(crate) fn begin(&self) -> OpenRequest {
        self.requests.send_modify(|requests| {
            requests.open += 1;
            requests.any = true;
        });
        OpenRequest(Arc::clone(&self.requests))
    }

    /// Resolves when the first request has begun.
    pub(crate) async fn first(&self) {
        let mut requests = self.requests.subscribe();
        // It cannot fail: this very value keeps the sender.
        drop(requests.wait_for(|requests| requests.any).await);
    }

    /// Resolves when there was no request for this long; never without a limit.
    pub(crate) async fn idle(&self, limit: Option<Duration>) {
        let Some(limit) = limit else {
            return std::future::pending().await;
        };
        let mut requests = self.requests.subscribe();
        loop {
            // Neither wait can fail: this very value keeps the sender.
            let quiet = requests
                .wait_for(|requests| requests.open == 0)
                .await
                .is_ok();
            let changed = timeout(limit, requests.changed()).await;
            match changed {
                Err(_) if quiet => return,
                Ok(Err(_)) => sleep(limit).await,
                Ok(Ok(())) | Err(_) => {}
            }
        }
    }
}

/// One open request.
#[derive(Debug)]
pub(crate) struct OpenRequest(Arc<watch::Sender<Requests>>);

impl Drop for OpenRequest {
    fn drop(&mut self) {
        self.0
            .send_modify(|requests| requests.open = requests.open.saturating_sub(1));
    }
}

/// A response that counts as an open request until its last byte is handed over.
#[derive(Debug)]
pub(crate) struct Counted {
    pub(crate) body: Body,
    /// Held, not read.
    pub(crate) _open: OpenRequest,
}

impl HttpBody for Counted {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::Instant;

    /// The limit counts from the end of the last request, and an open request is not idle.
    #[tokio::test(start_paused = true)]
    async fn idle_counts_from_the_last_request() {
        let limit = Duration::from_secs(10);
        let activity = Activity::new();
        let begun = Instant::now();
        let request = activity.begin();
        tokio::join!(activity.idle(Some(limit)), async {
            sleep(Duration::from_secs(25)).await;
            drop(request);
        });
        assert_eq!(begun.elapsed().as_secs(), 35);
    }
}
