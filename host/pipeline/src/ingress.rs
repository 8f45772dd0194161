//! The entrance for batches: the interface for receivers.

mod admission;
mod answer;
mod drain_switch;
mod entry;
mod fan_out;
mod feeder;
mod gate;
mod journal_feed;
mod offers;
mod pressure;
mod routing;
mod valid_request;

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use spandrel_wire::{Findings, Signal};

pub use self::admission::AckOn;
pub(crate) use self::admission::{Admission, AdmissionConfig};
pub use self::fan_out::FanOut;
pub(crate) use self::feeder::Feeder;
pub use self::gate::Gate;
pub(crate) use self::journal_feed::JournalFeed;
pub use self::offers::OfferCounters;
pub use self::pressure::{LATEST, SOONEST};
pub(crate) use self::routing::{Routing, ShardPermit};
use crate::refused::Refused;

/// The answer when a request was accepted, except for its invalid items.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Acceptance {
    /// Its items that were refused for good because of their content. Their sender is told.
    pub refused: Findings,
    /// Its texts in which something was replaced, because it was not UTF-8.
    pub replaced: Findings,
}

/// Takes requests from a receiver: validates and admits them, and runs them through the shards.
/// `Ok` means accepted: the sender may forget the items.
pub trait Ingress: Send + Sync + fmt::Debug {
    /// Offers one serialized OTLP request; an empty request is accepted. Resolves within the
    /// limits of the pipeline (admission waits are bounded).
    fn offer(&self, signal: Signal, request: Bytes) -> BoxFuture<'_, Result<Acceptance, Refused>>;

    /// Returns true if any pipeline takes this signal at the moment. A reload may change that.
    fn carries(&self, signal: Signal) -> bool;

    /// Returns the number of requests of this signal that are worth offering at a time: more would
    /// only wait for each other, in the order of their arrival. Any number by default.
    fn concurrency_limit(&self, signal: Signal) -> usize {
        let _any = signal;
        usize::MAX
    }

    /// Counts a request of this signal that a receiver turned away for lack of room before it was
    /// offered, and returns the time after which its sender is to come back: between [`SOONEST`]
    /// and [`LATEST`].
    fn turned_away(&self, signal: Signal) -> Duration {
        let _any = signal;
        SOONEST
    }
}
