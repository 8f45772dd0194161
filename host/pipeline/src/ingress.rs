//! Where batches come in: what a receiver is given.

use std::fmt;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use spandrel_wire::Signal;

use crate::refused::Refused;

/// Takes the requests of one signal from a receiver: validates, admits, runs them through the
/// shards. `Ok` means accepted: the sender may forget the items.
pub trait Ingress: Send + Sync + fmt::Debug {
    /// Offers one serialized OTLP request; an empty request is accepted. Resolves within the
    /// limits of the pipeline (admission waits are bounded).
    fn offer(&self, signal: Signal, request: Bytes) -> BoxFuture<'_, Result<(), Refused>>;
}
