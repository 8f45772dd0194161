//! What can be let in of a request.

use alloc::vec::Vec;

use crate::count::messages;
use crate::edits::Edits;
use crate::ids;
use crate::invalid::Invalid;
use crate::limits::Limits;
use crate::schema;
use crate::signal::Signal;
use crate::splice::{self, Kept};
use crate::validate::{WrongIds, check};
use crate::verdict::{Tally, Verdict};

/// A request without the spans that OTLP calls invalid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sifted {
    /// Items that are left.
    pub items: usize,
    /// Spans that were taken out.
    pub invalid_spans: usize,
    /// What is left: their bytes as they came.
    pub kept: Kept,
}

/// Checks a request completely, as [`validate`](crate::validate) does, and takes out spans whose ids
/// are invalid: whose trace id or span id is not there, all zero or of a wrong length, or which name
/// a parent or a link by an id of a wrong length.
///
/// A request whose ids are all valid is not copied; nor does it take longer than to validate it.
pub fn sift(signal: Signal, request: &[u8], limits: &Limits) -> Result<Sifted, Invalid> {
    let shape = schema::request(signal);
    let summary = check(shape, request, limits, WrongIds::Counted)?;
    if summary.invalid_spans > 0 {
        return Ok(take_out(request, summary.items));
    }
    Ok(Sifted {
        items: summary.items,
        invalid_spans: 0,
        kept: Kept::All,
    })
}

#[cold]
fn take_out(request: &[u8], items: usize) -> Sifted {
    let spans = messages(request, 1)
        .flat_map(|resource| messages(resource, 2))
        .flat_map(|scope| messages(scope, 2));
    let mut verdicts = Vec::with_capacity(items);
    verdicts.extend(spans.map(|span| {
        let verdict = if ids::are_valid(span) {
            Verdict::Keep
        } else {
            Verdict::Drop(0)
        };
        verdict.to_byte()
    }));
    let keep = Verdict::Keep.to_byte();
    let kept = verdicts.iter().filter(|byte| **byte == keep).count();
    let tally = Tally {
        kept,
        held: 0,
        dropped: Vec::new(),
    };
    let spliced = splice::write(request, &verdicts, Edits::default(), items, tally);
    Sifted {
        items: kept,
        invalid_spans: items - kept,
        kept: spliced.kept,
    }
}
