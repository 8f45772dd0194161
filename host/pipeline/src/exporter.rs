//! Where batches leave: the trait that `host/otlp` and the program's own exporters implement.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use spandrel_wire::Signal;

/// How one attempt to export ended.
#[derive(Debug)]
pub enum Outcome {
    /// The backend has all of it.
    Sent,
    /// The backend has it, but refused some items for good (OTLP `partial_success`); never retried.
    Partial {
        /// Items that the backend did not take.
        rejected: u64,
        /// The backend's words.
        message: String,
    },
    /// Worth another attempt, not before `after` when the backend named a time (RetryInfo).
    Retry {
        /// The least wait that the backend asked for.
        after: Option<Duration>,
        /// What went wrong: one line, for the operator.
        error: String,
    },
    /// Another attempt would end the same way.
    Permanent {
        /// Whether a part of the batch may end otherwise.
        refuses: Refuses,
        /// What went wrong: one line, for the operator.
        error: String,
    },
}

/// What is refused for good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refuses {
    /// This batch: without what is at fault in it, or in smaller parts, it may be taken. Also when
    /// nobody can tell.
    Batch,
    /// This batch, because it is too long: in smaller parts it is taken.
    Size {
        /// The longest request that is taken, in bytes before compression, if it was said.
        limit: Option<usize>,
    },
    /// Whatever is sent, so that parts of the batch need no attempts: the credentials or the address
    /// are wrong, for example.
    Everything,
}

/// Sends batches somewhere. One attempt a call, bounded by its own timeout; the pipeline retries.
/// Calls run concurrently; a call that is dropped is an attempt given up.
pub trait Exporter: Send + Sync + fmt::Debug {
    /// One attempt to send one valid OTLP request.
    fn export(&self, signal: Signal, batch: Bytes) -> BoxFuture<'_, Outcome>;

    /// Looks whether what it writes to is still where its name leads, and goes there if not: an
    /// operator has put files aside and says so (SIGHUP).
    fn reopen(&self) -> BoxFuture<'_, Result<(), String>> {
        Box::pin(std::future::ready(Ok(())))
    }

    /// Writes out what the exporter itself holds (files); called after the last attempt of each pipeline
    /// that has it, and of each that has it no more or with other settings.
    fn flush(&self) -> BoxFuture<'_, Result<(), String>> {
        Box::pin(std::future::ready(Ok(())))
    }
}
