//! The input of the properties here, and the number of their cases.

use proptest::prelude::*;

use crate::dice::Dice;

/// Makes dice from random bytes, fewer than this many.
pub(crate) fn dice(most: usize) -> impl Strategy<Value = Dice> {
    proptest::collection::vec(any::<u8>(), 0..most).prop_map(Dice::new)
}

/// Returns the number of cases of each property: enough to meet every combination that has failed
/// so far, unless `PROPTEST_CASES` sets another.
pub(crate) fn cases() -> ProptestConfig {
    match std::env::var("PROPTEST_CASES") {
        Ok(_) => ProptestConfig::default(),
        Err(_) => ProptestConfig::with_cases(500),
    }
}
