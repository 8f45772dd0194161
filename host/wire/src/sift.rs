//! Finds the items of a request that can be let in.

use crate::findings::Findings;
use crate::invalid::Invalid;
use crate::limits::Limits;
use crate::mend::mend;
use crate::schema;
use crate::signal::Signal;
use crate::splice::Kept;
use crate::validate::{WrongIds, check};

/// The treatment of texts that are not UTF-8.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum InvalidUtf8 {
    /// Bytes that are not UTF-8 are replaced by U+FFFD: mostly a text was cut inside a character.
    #[default]
    Replace,
    /// Their items are refused; for a text of a resource, a scope or a metric, all items under it.
    Reject,
}

/// A request without the items in which something is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sifted {
    /// The number of items that are left.
    pub items: usize,
    /// The request that is left: the bytes of each item as they came, except for replaced texts.
    pub kept: Kept,
    /// The items that were removed.
    pub refused: Findings,
    /// The texts in which something was replaced.
    pub replaced: Findings,
}

/// Checks a request completely, as [`validate`](crate::validate) does. An error inside one span,
/// data point or log record costs that item: it is removed, and the others are left.
///
/// The errors inside an item are: a text that is not UTF-8 (unless it is replaced), an id of a
/// wrong length (also of a parent, a link or an exemplar), a span's own id that is missing or all
/// zero, values nested too deep, and anything malformed within the item's own length. The same
/// error in a resource, a scope or a metric costs all items under it.
///
/// A valid request is not copied, and takes no longer than to validate it.
///
/// # Errors
/// Fails if the request is over a limit, or malformed in a place behind which items cannot be told
/// apart.
pub fn sift(
    signal: Signal,
    request: &[u8],
    limits: &Limits,
    invalid_utf8: InvalidUtf8,
) -> Result<Sifted, Invalid> {
    let shape = schema::request(signal);
    match check(shape, request, limits, WrongIds::Counted) {
        Ok(summary) if summary.invalid_spans == 0 => Ok(Sifted {
            items: summary.items,
            kept: Kept::All,
            refused: Findings::default(),
            replaced: Findings::default(),
        }),
        Err(why @ Invalid::OverLimit { .. }) => Err(why),
        _ => mend(signal, request, limits, invalid_utf8),
    }
}
