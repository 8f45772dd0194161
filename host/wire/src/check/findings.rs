//! The problems found in a request, for people: a few places by name, the others by number.

use alloc::string::String;
use core::fmt::{self, Write as _};

use crate::check::invalid::Invalid;

/// The number of places that are named. A sender that makes one mistake makes it in many places.
const NAMED: usize = 3;

/// The problems found in a request. It says where the first three are, and why.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Findings {
    /// The number of items that are refused, or of texts that were replaced.
    pub count: usize,
    /// The number of finds. One find may be about several items, or about none.
    finds: usize,
    words: String,
}

impl Findings {
    /// Returns true if nothing was found.
    pub fn is_empty(&self) -> bool {
        self.finds == 0
    }

    /// Notes that items are refused for this reason. `place` is only called if the place is to be
    /// named.
    pub(crate) fn refuse(&mut self, items: usize, why: &Invalid, place: impl FnOnce() -> String) {
        let reason = why.reason();
        self.note(items, || {
            let mut words = place();
            // Writing to a string cannot fail.
            let _ok = write!(words, ": {reason}");
            words
        });
    }

    /// Notes a find that counts this many times in one place.
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
