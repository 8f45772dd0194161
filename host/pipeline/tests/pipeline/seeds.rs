//! The seeds that a simulation runs.

use std::ops::Range;

/// The number of seeds for each simulation, if nothing else is asked for.
const SHORT: u64 = 150;

/// Returns `SPANDREL_SEEDS` seeds, or the one of `SPANDREL_SEED`. A seed determines the scenario.
/// It does not determine the jitter of retries, nor which of several ready tasks runs first, so a
/// rare failure may need several runs.
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
