//! Releases: the words by which a plugin lets go of the items that it holds.

use crate::ledger::Reason;

/// The outcome of a released item.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum ReleaseAs {
    Forward,
    Drop(Reason),
}

impl ReleaseAs {
    /// Reads the outcome in the upper half of a release (see `wit/v0.1/types.wit`). `None` if the
    /// plugin has no such drop reason.
    pub(super) fn from_word(word: u32, reasons: usize) -> Option<Self> {
        let code = u8::try_from(word).ok()?;
        match code {
            0 => Some(Self::Forward),
            u8::MAX => Some(Self::Drop(Reason::Undisposed)),
            code if code >= 2 && usize::from(code - 2) < reasons => {
                Some(Self::Drop(Reason::Plugin(code - 2)))
            }
            _ => None,
        }
    }
}

/// Splits a release into index and outcome.
pub(super) fn halves(word: u64) -> (u32, u32) {
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the low half is what is wanted"
    )]
    let low = word as u32;
    (low, (word >> 32) as u32)
}

/// Checks that releases are pairs, and that their outcomes are valid.
pub(in crate::stage) fn check_words(released: &[u64], reasons: usize) -> Result<(), String> {
    let (pairs, rest) = released.as_chunks::<2>();
    if !rest.is_empty() {
        return Err(format!("released: {} words are not pairs", released.len()));
    }
    for (place, &[_, word]) in pairs.iter().enumerate() {
        let (_, outcome) = halves(word);
        if ReleaseAs::from_word(outcome, reasons).is_none() {
            return Err(format!(
                "release {place}: outcome {outcome} names no drop reason"
            ));
        }
    }
    Ok(())
}
