//! A request as it comes in: valid, and without the items in which something is wrong.

use bytes::Bytes;
use spandrel_wire::{Invalid, InvalidUtf8, Kept, Limits, Signal};

use super::Accepted;

/// See the module.
#[derive(Clone, Debug)]
pub(super) struct Arrived {
    /// What is left.
    pub(super) request: Bytes,
    /// Items that are left.
    pub(super) items: u64,
    /// Items that were taken out.
    pub(super) invalid: u64,
}

impl Arrived {
    /// Checks a request completely; it is copied only when something is wrong in it. The second is the
    /// answer, if what is left is accepted.
    pub(super) fn sift(
        signal: Signal,
        request: Bytes,
        limits: &Limits,
        invalid_utf8: InvalidUtf8,
    ) -> Result<(Self, Accepted), Invalid> {
        let sifted = spandrel_wire::sift(signal, &request, limits, invalid_utf8)?;
        let arrived = Self {
            request: match sifted.kept {
                Kept::All => request,
                Kept::Nothing => Bytes::new(),
                Kept::Some(left) => Bytes::from(left),
            },
            items: sifted.items as u64,
            invalid: sifted.refused.count as u64,
        };
        let accepted = Accepted {
            refused: sifted.refused,
            replaced: sifted.replaced,
        };
        Ok((arrived, accepted))
    }
}
