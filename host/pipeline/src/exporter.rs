//! The way out for batches: the trait that `host/otlp` and the program's own exporters implement.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use spandrel_wire::Signal;

/// The result of one attempt to export.
#[derive(Debug)]
pub enum Outcome {
    /// The backend took all of it.
    Sent,
    /// The backend took it, but refused some items for good (OTLP `partial_success`). They are
    /// never retried.
    Partial {
        /// Items that the backend did not take.
        rejected: u64,
        /// The backend's message.
        message: String,
    },
    /// Another attempt may work, not before `after` if the backend named a time (RetryInfo).
    Retry {
        /// The least wait that the backend asked for.
        after: Option<Duration>,
        /// The error: one line, for the operator.
        error: String,
    },
    /// Another attempt would end the same way.
    Permanent {
        /// The part of the traffic that is refused.
        refuses: Refuses,
        /// The error: one line, for the operator.
        error: String,
    },
}

/// The scope of a refusal for good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refuses {
    /// The backend refuses this batch: without the items at fault, or in smaller parts, it may be
    /// taken. Also the answer if the cause is not known.
    Batch,
    /// The backend refuses this batch because it is too long: in smaller parts it is taken.
    Size {
        /// The longest request that is taken, in bytes before compression, if the backend said so.
        limit: Option<usize>,
    },
    /// The backend refuses everything, so attempts with parts of the batch are useless. For
    /// example, the credentials or the address are wrong.
    Everything,
}

/// Sends batches somewhere. Each call is one attempt, bounded by the exporter's own timeout; the
/// pipeline retries. Calls run concurrently. Dropping a call gives the attempt up.
pub trait Exporter: Send + Sync + fmt::Debug {
    /// Makes one attempt to send one valid OTLP request.
    fn export(&self, signal: Signal, batch: Bytes) -> BoxFuture<'_, Outcome>;

    /// Checks that its output is still where its name leads, and reopens it if not: an operator who
    /// has moved files aside asks for this (SIGHUP).
    fn reopen(&self) -> BoxFuture<'_, Result<(), String>> {
        Box::pin(std::future::ready(Ok(())))
    }

    /// Writes out what the exporter itself buffers (files). Called after the last attempt of each
    /// pipeline that has it, and of each pipeline that drops it or changes its settings.
    fn flush(&self) -> BoxFuture<'_, Result<(), String>> {
        Box::pin(std::future::ready(Ok(())))
    }
}
