//! Counts the open requests of a connection, for its idle limit, and the answers that its client
//! does not take.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};
use tonic::Status;
use tonic::body::Body;

/// The time that a client may leave an answer untaken, give or take a half. The answers of a client
/// whose window is shut would otherwise stay for ever, with all that each request takes.
const TAKE_LIMIT: Duration = Duration::from_secs(20);

/// The requests that a connection has open; every change of their number is seen.
#[derive(Clone, Debug)]
pub(crate) struct Activity {
    requests: Arc<watch::Sender<RequestCounts>>,
}

#[derive(Debug)]
struct RequestCounts {
    open: usize,
    /// The number of open requests for the health of the receiver.
    health: usize,
    /// The number of requests so far.
    begun: u64,
    /// True if the client still sends what nobody will read.
    abandoned: bool,
    /// The time since when no request is open except for health; for a connection that never had
    /// one, the time when it was made.
    quiet_since: Instant,
    /// The number of untaken answers, by the period in which they were given: this one, the last
    /// one, and before.
    answers: [usize; 3],
    /// The number of this period.
    period: usize,
}

impl Activity {
    pub(crate) fn new() -> Self {
        Self {
            requests: Arc::new(watch::Sender::new(RequestCounts {
                open: 0,
                health: 0,
                begun: 0,
                abandoned: false,
                quiet_since: Instant::now(),
                answers: [0; 3],
                period: 0,
            })),
        }
    }

    /// Returns the time since when the connection has no request open; `None` if it has one.
    /// Requests for health do not count: they may stay for ever, and are for everybody.
    pub(crate) fn quiet_since(&self) -> Option<Instant> {
        let requests = self.requests.borrow();
        (requests.open == requests.health).then_some(requests.quiet_since)
    }

    /// Resolves when the client has left an answer untaken for too long.
    pub(crate) async fn untaken(&self) {
        loop {
            sleep(TAKE_LIMIT / 2).await;
            let mut is_untaken = false;
            self.requests.send_if_modified(|requests| {
                let [this, last, before] = requests.answers;
                is_untaken = before > 0;
                requests.answers = [0, this, last + before];
                requests.period += 1;
                false
            });
            if is_untaken {
                return;
            }
        }
    }

    /// Counts a request until the guard is dropped.
    pub(crate) fn begin(&self, purpose: Purpose) -> OpenRequest {
        self.requests.send_modify(|requests| {
            requests.open += 1;
            requests.health += usize::from(purpose.is_health());
            requests.begun += 1;
        });
        OpenRequest {
            requests: Arc::clone(&self.requests),
            purpose,
            answered: None,
        }
    }

    /// Returns the number of requests that have begun so far, and true if one of them is open.
    pub(crate) fn begun(&self) -> (u64, bool) {
        let requests = self.requests.borrow();
        (requests.begun, requests.open > 0)
    }

    /// Records that the client still sends something that nobody will read.
    pub(crate) fn abandon(&self) {
        self.requests.send_if_modified(|requests| {
            requests.abandoned = true;
            false
        });
    }

    /// Returns true if the client still sends something that nobody will read.
    pub(crate) fn is_abandoned(&self) -> bool {
        self.requests.borrow().abandoned
    }

    /// Resolves when more requests than this number have begun.
    pub(crate) async fn more_than(&self, number: u64) {
        let mut requests = self.requests.subscribe();
        // This cannot fail: `self` keeps the sender.
        drop(requests.wait_for(|requests| requests.begun > number).await);
    }

    /// Resolves when there was no request for this long; never if there is no limit.
    pub(crate) async fn idle(&self, limit: Option<Duration>) {
        let Some(limit) = limit else {
            return std::future::pending().await;
        };
        let mut requests = self.requests.subscribe();
        loop {
            // Neither wait can fail: `self` keeps the sender.
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

/// The purpose of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// It exports telemetry.
    Export,
    /// It asks for the health of the receiver.
    Health,
    /// It asks for the health of the receiver and all its changes: the answer goes on.
    HealthWatch,
}

impl Purpose {
    fn is_health(self) -> bool {
        matches!(self, Self::Health | Self::HealthWatch)
    }
}

/// One open request.
#[derive(Debug)]
pub(crate) struct OpenRequest {
    requests: Arc<watch::Sender<RequestCounts>>,
    purpose: Purpose,
    /// The period in which it was answered.
    answered: Option<usize>,
}

impl OpenRequest {
    /// Records that its answer is now for the client to take. The answer to a watch stays for as
    /// long as its client likes.
    pub(crate) fn answered(&mut self) {
        if self.purpose == Purpose::HealthWatch {
            return;
        }
        self.requests.send_if_modified(|requests| {
            let [this, ..] = &mut requests.answers;
            *this += 1;
            self.answered = Some(requests.period);
            false
        });
    }
}

impl Drop for OpenRequest {
    fn drop(&mut self) {
        self.requests.send_modify(|requests| {
            requests.open = requests.open.saturating_sub(1);
            let health = usize::from(self.purpose.is_health());
            requests.health = requests.health.saturating_sub(health);
            if requests.open == requests.health && !self.purpose.is_health() {
                requests.quiet_since = Instant::now();
            }
            let [this, last, before] = &mut requests.answers;
            let answers = match self.answered.map(|period| requests.period - period) {
                None => return,
                Some(0) => this,
                Some(1) => last,
                Some(_) => before,
            };
            *answers = answers.saturating_sub(1);
        });
    }
}

/// The body of a response, which counts as an open request until its last byte is handed over.
#[derive(Debug)]
pub(crate) struct CountedBody {
    body: Body,
    /// Held, not read.
    _open: OpenRequest,
}

impl CountedBody {
    pub(crate) fn new(body: Body, open: OpenRequest) -> Self {
        Self { body, _open: open }
    }
}

impl HttpBody for CountedBody {
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

    /// The limit counts from the end of the last request, and an open request is not idle.
    #[tokio::test(start_paused = true)]
    async fn idle_counts_from_the_last_request() {
        let limit = Duration::from_secs(10);
        let activity = Activity::new();
        let begun = Instant::now();
        let request = activity.begin(Purpose::Export);
        tokio::join!(activity.idle(Some(limit)), async {
            sleep(Duration::from_secs(25)).await;
            drop(request);
        });
        assert_eq!(begun.elapsed().as_secs(), 35);
    }

    /// An answer that lies for too long is noticed; answers that are taken, however many, are not.
    #[tokio::test(start_paused = true)]
    async fn untaken_answers_are_seen() {
        let activity = Activity::new();
        let begun = Instant::now();
        let taken = async {
            for _ in 0..100 {
                let mut request = activity.begin(Purpose::Export);
                sleep(TAKE_LIMIT * 3).await;
                request.answered();
                sleep(TAKE_LIMIT / 3).await;
            }
        };
        tokio::select! {
            () = activity.untaken() => panic!("after {:?}", begun.elapsed()),
            () = taken => {}
        }
        let begun = Instant::now();
        let mut request = activity.begin(Purpose::Export);
        request.answered();
        activity.untaken().await;
        let took = begun.elapsed();
        assert!(
            took >= TAKE_LIMIT / 2 && took <= TAKE_LIMIT * 3 / 2,
            "{took:?}"
        );
        drop(request);
        assert_eq!(activity.requests.borrow().answers, [0; 3]);
    }
}
