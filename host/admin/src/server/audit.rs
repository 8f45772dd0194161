//! Logs the requests of clients: one line for each change, and few lines for many clients that are not
//! admitted.

use std::time::Duration;

use parking_lot::Mutex;
use spandrel_collector::time_text::millis;
use tokio::time::Instant;
use tracing::{info, warn};

use super::admission::{AuthorizationError, Peer};
use super::route::{ChangeKind, ChangeRequest};

/// The interval in which clients that are not admitted are logged once, with their number.
const QUIET: Duration = Duration::from_secs(10);

/// One requested change, from the request to its line in the log.
pub(super) struct Audit {
    who: String,
    asked: ChangeRequest,
    began: Instant,
}

impl Audit {
    pub(super) fn begin(peer: &Peer, asked: &ChangeRequest) -> Self {
        Self {
            who: peer.to_string(),
            asked: asked.clone(),
            began: Instant::now(),
        }
    }

    /// Writes the line.
    pub(super) fn end(self, outcome: &str) {
        let ChangeRequest { what, name } = &self.asked;
        let (stage, batch) = match what {
            ChangeKind::Quarantine(_) => (None, Some(name)),
            _ => (Some(name), None),
        };
        info!(
            who = %self.who,
            stage = stage.map(display),
            batch = batch.map(display),
            what = what.label(),
            outcome,
            elapsed_ms = millis(self.began),
            "change asked for at the admin API"
        );
    }
}

/// Counts clients that may not ask.
#[derive(Debug, Default)]
pub(super) struct UnauthorizedLog(Mutex<Counts>);

#[derive(Debug, Default)]
struct Counts {
    logged: Option<Instant>,
    since: u64,
}

impl UnauthorizedLog {
    /// Logs the first one, and then at most one in ten seconds: clients that are not admitted must
    /// not fill the log.
    pub(super) fn note(&self, peer: &Peer, error: &AuthorizationError) {
        let mut seen = self.0.lock();
        seen.since = seen.since.saturating_add(1);
        let now = Instant::now();
        if seen.logged.is_some_and(|last| now - last < QUIET) {
            return;
        }
        warn!(who = %peer, requests = seen.since, reason = %error, "not admitted to the admin API");
        *seen = Counts {
            logged: Some(now),
            since: 0,
        };
    }
}
