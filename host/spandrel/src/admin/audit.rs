//! What the log says of those who asked: one line for each change, and no flood of strangers.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use tracing::{info, warn};

use super::admission::{Peer, Stranger};
use super::route::{Asked, What};
use crate::app::millis;

/// Strangers are logged once in this time, with how many there were.
const QUIET: Duration = Duration::from_secs(10);

/// One change that was asked for, from the request to its line in the log.
pub(super) struct Audit {
    who: String,
    asked: Asked,
    began: Instant,
}

impl Audit {
    pub(super) fn begin(peer: &Peer, asked: &Asked) -> Self {
        Self {
            who: peer.to_string(),
            asked: asked.clone(),
            began: Instant::now(),
        }
    }

    /// The one line.
    pub(super) fn end(self, outcome: &str) {
        let Asked { what, name } = &self.asked;
        let (stage, batch) = match what {
            What::Quarantine(_) => (None, Some(name)),
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

/// Counts who may not ask.
#[derive(Debug, Default)]
pub(super) struct Strangers(Mutex<Seen>);

#[derive(Debug, Default)]
struct Seen {
    logged: Option<Instant>,
    since: u64,
}

impl Strangers {
    /// A line for the first, and then at most one in ten seconds: who cannot come in shall not fill
    /// the log either.
    pub(super) fn note(&self, peer: &Peer, stranger: &Stranger) {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        seen.since = seen.since.saturating_add(1);
        let now = Instant::now();
        if seen.logged.is_some_and(|last| now - last < QUIET) {
            return;
        }
        warn!(who = %peer, requests = seen.since, reason = %stranger, "not admitted to the admin API");
        *seen = Seen {
            logged: Some(now),
            since: 0,
        };
    }
}
