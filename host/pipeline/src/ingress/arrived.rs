//! A request as it comes in: valid, and without its invalid spans.

use bytes::Bytes;
use spandrel_wire::{Invalid, Kept, Limits, Signal};

/// See the module.
#[derive(Clone, Debug)]
pub(super) struct Arrived {
    /// What is left.
    pub(super) request: Bytes,
    /// Items that are left.
    pub(super) items: u64,
    /// Spans that were taken out.
    pub(super) invalid: u64,
}

impl Arrived {
    /// Checks a request completely; it is copied only when spans are taken out.
    pub(super) fn sift(signal: Signal, request: Bytes, limits: &Limits) -> Result<Self, Invalid> {
        let sifted = spandrel_wire::sift(signal, &request, limits)?;
        Ok(Self {
            request: match sifted.kept {
                Kept::All => request,
                Kept::Nothing => Bytes::new(),
                Kept::Some(left) => Bytes::from(left),
            },
            items: sifted.items as u64,
            invalid: sifted.invalid_spans as u64,
        })
    }
}
