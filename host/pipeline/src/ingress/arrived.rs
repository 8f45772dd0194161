//! A request as it comes in: valid, and without its invalid items.

use bytes::Bytes;
use spandrel_wire::{Invalid, InvalidUtf8, Limits, Output, Signal};

use super::Accepted;

/// A valid request, without its invalid items.
#[derive(Clone, Debug)]
pub(super) struct Arrived {
    /// The request with the remaining items.
    pub(super) request: Bytes,
    /// The number of items that remain.
    pub(super) items: u64,
    /// The number of items that were taken out.
    pub(super) invalid: u64,
}

impl Arrived {
    /// Checks a request completely. It is copied only if something is wrong in it. Also returns the
    /// answer for the case that the remaining items are accepted.
    pub(super) fn sift(
        signal: Signal,
        request: Bytes,
        limits: &Limits,
        invalid_utf8: InvalidUtf8,
    ) -> Result<(Self, Accepted), Invalid> {
        let valid = spandrel_wire::remove_invalid_items(signal, &request, limits, invalid_utf8)?;
        let arrived = Self {
            request: match valid.output {
                Output::Unchanged => request,
                Output::Nothing => Bytes::new(),
                Output::Request(left) => Bytes::from(left),
            },
            items: valid.items as u64,
            invalid: valid.refused.count as u64,
        };
        let accepted = Accepted {
            refused: valid.refused,
            replaced: valid.replaced,
        };
        Ok((arrived, accepted))
    }
}
