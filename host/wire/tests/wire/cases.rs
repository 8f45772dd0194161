//! What the properties here run on, and how often.

use proptest::prelude::*;

use crate::dice::Dice;

/// Random bytes to decide with, up to so many.
pub(crate) fn dice(most: usize) -> impl Strategy<Value = Dice> {
    proptest::collection::vec(any::<u8>(), 0..most).prop_map(Dice::new)
}

/// The number of cases of each property: enough to meet every combination that has failed yet,
/// unless `PROPTEST_CASES` says another.
pub(crate) fn cases() -> ProptestConfig {
    match std::env::var("PROPTEST_CASES") {
        Ok(_) => ProptestConfig::default(),
        Err(_) => ProptestConfig::with_cases(500),
    }
}
