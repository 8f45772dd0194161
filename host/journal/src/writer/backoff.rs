//! The pause after the disk was full or failed.

use std::time::Duration;

use spandrel_pipeline::journal::AppendError;
use tokio::time::Instant;

use crate::line_limiter::LineLimiter;
use crate::write_error;

/// Refuses batches for a while after the disk was full or failed, because it is not tried again
/// before.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    /// The time until which batches are refused, and why.
    refusal: Option<(Instant, AppendError)>,
    /// Limits the lines that say that batches are refused. A line of a failure does not hold them
    /// back.
    lines: LineLimiter,
    /// True if a log line has said that batches are refused.
    reported: bool,
}

impl Backoff {
    /// Returns the reason why batches are refused now.
    pub(super) fn refusal(&self) -> Option<AppendError> {
        let (until, error) = self.refusal.as_ref()?;
        (Instant::now() < *until).then(|| write_error::copy(error))
    }

    /// Refuses batches for this long.
    pub(super) fn begin(&mut self, error: &AppendError, pause: Duration, log: &str) {
        if let Some(repeated) = self.lines.next() {
            tracing::warn!(log, repeated, reason = %error, "journal refuses batches");
            self.reported = true;
        }
        self.refusal = Some((Instant::now() + pause, write_error::copy(error)));
    }

    /// Takes batches again.
    pub(super) fn end(&mut self, log: &str) {
        self.refusal = None;
        if std::mem::take(&mut self.reported) {
            tracing::info!(log, "journal takes batches again");
        }
    }
}
