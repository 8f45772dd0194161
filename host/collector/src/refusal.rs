//! Reasons why a change was not made.

use spandrel_pipeline::pipeline::ChangeError;

use crate::error_chain::in_one_line;

/// The reason why a command was not done. The running generation is untouched.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// There is no such stage, or nothing to roll back to, promote or cancel: HTTP 404.
    #[error("{0}")]
    NotFound(String),
    /// The candidate is bad: HTTP 422.
    #[error("{0}")]
    Bad(String),
    /// Another change of the same stage is under way, or the queue is full: HTTP 409.
    #[error("{0}")]
    Conflict(String),
    /// The collector is draining: HTTP 503.
    #[error("the collector is stopping and accepts no changes")]
    Draining,
}

impl From<ChangeError> for Refusal {
    fn from(error: ChangeError) -> Self {
        match error {
            ChangeError::Draining => Self::Draining,
            ChangeError::Busy => Self::Conflict(in_one_line(&error)),
            error => Self::Bad(in_one_line(&error)),
        }
    }
}
