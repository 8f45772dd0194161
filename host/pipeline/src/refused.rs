//! The reasons why a batch was refused: the sender was told, and still owns its items.

use std::time::Duration;

use spandrel_wire::Invalid;

use crate::journal::AppendError;
use crate::plugin::Fault;

/// The reason why a batch was refused, by what the sender should do next.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// The bytes are not a valid request, or exceed a limit: do not retry.
    #[error("invalid request")]
    Invalid(#[source] Invalid),
    /// A queue is full, or the shards are busy: retry after about this long.
    #[error("overloaded")]
    Full {
        /// The hint for the sender (RetryInfo).
        retry_after: Duration,
    },
    /// The journal did not take it, so it is not certain to arrive: retry after about this long.
    #[error("not journaled")]
    Unwritten {
        /// The hint for the sender (RetryInfo).
        retry_after: Duration,
        /// The cause.
        #[source]
        source: AppendError,
    },
    /// A backend refused it for good, with `ack_on: export`. Do not retry.
    #[error("refused by the backend")]
    Rejected,
    /// The collector is stopping: go elsewhere, or retry.
    #[error("draining")]
    Draining,
    /// A stage with `on_fault: refuse` failed on it: retry after about this long.
    #[error("stage `{stage}` failed")]
    Fault {
        /// The stage's name.
        stage: String,
        /// The hint for the sender (RetryInfo).
        retry_after: Duration,
    },
    /// A stage failed on these very bytes again and again: do not retry.
    #[error("quarantined: stage `{stage}` failed on this batch {attempts} times")]
    Quarantined {
        /// The stage's name.
        stage: String,
        /// The number of times that it failed.
        attempts: u32,
    },
}

/// A refusal inside the pipeline.
#[derive(Debug)]
pub(crate) struct BatchRefusal {
    /// The answer to the sender.
    pub(crate) refused: Refused,
    /// The plugin's fault on this very batch. Without one, the batch cannot be to blame.
    pub(crate) fault: Option<Fault>,
    /// True if other parts of the batch went through: they do so again with each try.
    pub(crate) partial: bool,
}

impl From<Refused> for BatchRefusal {
    /// Makes a refusal from before any plugin was asked.
    fn from(refused: Refused) -> Self {
        Self {
            refused,
            fault: None,
            partial: false,
        }
    }
}
