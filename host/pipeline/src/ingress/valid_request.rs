//! The check of a request, before any pipeline has it.

use bytes::Bytes;
use spandrel_wire::{Invalid, InvalidUtf8, Limits, Output, Signal};

use super::Acceptance;

/// A valid request, without its invalid items.
#[derive(Clone, Debug)]
pub(super) struct ValidRequest {
    /// The request with the remaining items.
    pub(super) request: Bytes,
    /// The number of items that remain.
    pub(super) items: u64,
    /// The number of items that were taken out.
    pub(super) invalid: u64,
}

impl ValidRequest {
    /// Checks a request completely. It is copied only if something is wrong in it. Also returns the
    /// answer for the case that the remaining items are accepted.
    pub(super) fn check(
        signal: Signal,
        request: Bytes,
        limits: &Limits,
        invalid_utf8: InvalidUtf8,
    ) -> Result<(Self, Acceptance), Invalid> {
        let checked = spandrel_wire::remove_invalid_items(signal, &request, limits, invalid_utf8)?;
        let valid = Self {
            request: match checked.output {
                Output::Unchanged => request,
                Output::Nothing => Bytes::new(),
                Output::Request(left) => Bytes::from(left),
            },
            items: checked.items as u64,
            invalid: checked.refused.count as u64,
        };
        let accepted = Acceptance {
            refused: checked.refused,
            replaced: checked.replaced,
        };
        Ok((valid, accepted))
    }
}
