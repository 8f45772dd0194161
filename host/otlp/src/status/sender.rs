//! The statuses that senders get.

use std::time::Duration;

use rand::Rng;
use spandrel_pipeline::ingress::{Acceptance, LATEST, SOONEST};
use spandrel_pipeline::refused::Refused;
use spandrel_wire::{Invalid, PartialSuccess, Signal};
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

use super::one_line;
use crate::auth::AuthError;

/// The spread of retry hints: at most this many times what the pipeline says.
const SPREAD: f64 = 1.5;

/// The reason why a request could not be read, or not be offered.
#[derive(Debug)]
pub(crate) enum RequestError {
    /// The request is not a message of its protocol, or not compressed as it says.
    Malformed(&'static str),
    /// The request is longer than `limit` bytes, on the wire or inflated.
    OverLimit {
        /// The limit.
        limit: usize,
    },
    /// No memory to read it into, or no decoder, became free in time.
    Busy,
    /// Others wait for admission to the pipeline, and its turn did not come in time.
    Crowded,
    /// Its bytes did not arrive in time.
    Slow,
    /// The receiver is stopping and cannot wait for the rest of it.
    Draining,
    /// The connection ended or the sender gave up: nobody receives the answer.
    Gone,
}

/// Returns the status for a request that could not be read or offered. If there is no room, the
/// sender is told to come back after `wait`.
pub(crate) fn request_error(why: &RequestError, wait: Option<Duration>) -> Status {
    let wait = wait.unwrap_or(SOONEST);
    match why {
        RequestError::Malformed(what) => invalid(what),
        RequestError::OverLimit { limit } => {
            Status::resource_exhausted(format!("request is longer than {limit} bytes"))
        }
        RequestError::Busy => retry("receiver is out of memory for requests", wait),
        RequestError::Crowded => retry("collector has more requests than it can take", wait),
        RequestError::Draining => retry("collector is stopping", SOONEST),
        RequestError::Slow => Status::deadline_exceeded("request did not arrive in time"),
        RequestError::Gone => Status::cancelled("request was given up"),
    }
}

/// Returns the status for a request that is not let in. It does not say who would be let in.
pub(crate) fn denied(why: AuthError) -> Status {
    match why {
        AuthError::Missing => Status::unauthenticated("credentials are needed, and none were sent"),
        AuthError::Wrong => Status::unauthenticated("these credentials are not known here"),
        AuthError::Busy => retry("too many passwords are being checked", SOONEST),
    }
}

/// Returns the status for a request that the pipeline refused.
pub(crate) fn refused(refused: &Refused) -> Status {
    match refused {
        Refused::Invalid(why) => match why {
            Invalid::OverLimit { .. } => Status::resource_exhausted(why.to_string()),
            Invalid::Malformed { .. }
            | Invalid::Unreadable { .. }
            | Invalid::NotUtf8 { .. }
            | Invalid::WrongId { .. }
            | Invalid::NoId
            | Invalid::TooDeep { .. } => invalid(&why.to_string()),
        },
        // The reason why a request was not journaled is for the operator only, and is in the log.
        Refused::Full { retry_after }
        | Refused::Fault { retry_after, .. }
        | Refused::Unwritten { retry_after, .. } => retry(&refused.to_string(), *retry_after),
        Refused::Draining => retry("collector is stopping", SOONEST),
        // The same bytes would fail again, so to the sender they are bad data.
        Refused::Quarantined { .. } | Refused::Rejected => {
            Status::invalid_argument(one_line(&refused.to_string()))
        }
    }
}

/// Returns the content of the response to a request of which some items were refused for good;
/// `None` if all items were accepted.
pub(crate) fn partial_success(signal: Signal, accepted: &Acceptance) -> Option<PartialSuccess> {
    let refused = &accepted.refused;
    if refused.is_empty() {
        return None;
    }
    let items = match signal {
        Signal::Traces => "spans",
        Signal::Metrics => "data points",
        Signal::Logs => "log records",
    };
    let why = one_line(&format!("{} {items} refused: {refused}", refused.count));
    Some(PartialSuccess {
        rejected: refused.count as u64,
        message: why,
    })
}

/// Returns a status for a request that must never be sent again, with the detail that OTLP
/// recommends.
pub(crate) fn invalid(what: &str) -> Status {
    let message = one_line(what);
    let details = ErrorDetails::with_bad_request_violation("request", message.clone());
    Status::with_error_details(Code::InvalidArgument, message, details)
}

/// Returns a status for a request that may be sent again, not before `after`. The time is spread,
/// because senders that were refused together would be refused together again. This is the only
/// place where a hint becomes a RetryInfo, so no sender is told to wait for more than one and a
/// half times [`LATEST`], which is 30 s.
fn retry(message: &str, after: Duration) -> Status {
    let after = after.min(LATEST);
    let after = after.mul_f64(rand::rng().random_range(1.0..SPREAD));
    let details = ErrorDetails::with_retry_info(Some(after));
    Status::with_error_details(Code::Unavailable, one_line(message), details)
}
