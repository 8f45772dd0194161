//! Removes the items of a request in which something is wrong, so that the others can be let in.

use crate::check::findings::Findings;
use crate::check::invalid::Invalid;
use crate::check::limits::Limits;
use crate::check::schema;
use crate::read::signal::Signal;
use crate::write::Output;

mod repair;
use crate::check::validate::{WrongIds, check};

/// The treatment of texts that are not UTF-8.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum InvalidUtf8 {
    /// Bytes that are not UTF-8 are replaced by U+FFFD: mostly a text was cut inside a character.
    #[default]
    Replace,
    /// Their items are refused; for a text of a resource, a scope or a metric, all items under it.
    Reject,
}

/// The valid items of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ValidItems {
    /// The number of valid items.
    pub items: usize,
    /// The request with these items: the bytes of each item as they came, except for replaced texts.
    pub output: Output,
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
pub fn remove_invalid_items(
    signal: Signal,
    request: &[u8],
    limits: &Limits,
    invalid_utf8: InvalidUtf8,
) -> Result<ValidItems, Invalid> {
    let shape = schema::request(signal);
    match check(shape, request, limits, WrongIds::Counted) {
        Ok(summary) if summary.invalid_spans == 0 => Ok(ValidItems {
            items: summary.items,
            output: Output::Unchanged,
            refused: Findings::default(),
            replaced: Findings::default(),
        }),
        Err(why @ Invalid::OverLimit { .. }) => Err(why),
        _ => repair::repair(signal, request, limits, invalid_utf8),
    }
}
