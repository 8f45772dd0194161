//! Which seeds a simulation runs.

use std::ops::Range;

/// So many of each simulation where nothing else is asked for.
const SHORT: u64 = 150;

/// `SPANDREL_SEEDS` of them, or the one of `SPANDREL_SEED`. A seed makes the scenario; the jitter of retries
/// and which of several ready tasks goes first are not its own, so a rare failure wants it a few times.
pub(crate) fn seeds() -> Range<u64> {
    let number = |name| {
        let text = std::env::var(name).ok();
        text.map(|text| text.parse().expect("a number"))
    };
    match number("SPANDREL_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("SPANDREL_SEEDS").unwrap_or(SHORT),
    }
}
