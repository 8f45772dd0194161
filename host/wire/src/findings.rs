//! What was found in a request, for people: a few places by name, the others by number.

use alloc::string::String;
use core::fmt::{self, Write as _};

use crate::invalid::Invalid;

/// How many places are named. A sender that makes one mistake makes it in many.
const NAMED: usize = 3;

/// What was found in a request. Says where and why of the first three finds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Findings {
    /// Items that are refused, or texts that were replaced.
    pub count: usize,
    /// How many finds there were: one may be about several items, or about none.
    finds: usize,
    words: String,
}

impl Findings {
    /// Whether nothing was found.
    pub fn is_empty(&self) -> bool {
        self.finds == 0
    }

    /// Items are refused for this, in a place that is asked for if it is to be named.
    pub(crate) fn refuse(&mut self, items: usize, why: &Invalid, place: impl FnOnce() -> String) {
        let reason = why.reason();
        self.note(items, || {
            let mut words = place();
            // Writing to a string cannot fail.
            let _ok = write!(words, ": {reason}");
            words
        });
    }

    /// Something was found, so many times in one place.
    pub(crate) fn note(&mut self, count: usize, words: impl FnOnce() -> String) {
        self.count += count;
        self.finds += 1;
        if self.finds <= NAMED {
            if self.finds > 1 {
                self.words.push_str("; ");
            }
            self.words.push_str(&words());
        }
    }
}

impl fmt::Display for Findings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.words)?;
        match self.finds.saturating_sub(NAMED) {
            0 => Ok(()),
            more => write!(f, "; and {more} more"),
        }
    }
}
