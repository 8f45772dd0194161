//! The emission: what leaves a plugin besides the verdicts of the current batch. It contains held
//! spans that the plugin releases and spans that the plugin made. It collects here and goes out
//! with the current call.

use std::cell::RefCell;

use crate::bindings::spandrel::plugin::types;
use crate::created::NewResource;
use crate::edits::{Edits, word};

/// The outcomes of an item, as the contract encodes them.
pub(crate) const KEEP: u8 = 0;
pub(crate) const HOLD: u8 = 1;
pub(crate) const UNDISPOSED: u8 = 255;

#[derive(Debug, Default)]
pub(crate) struct Emission {
    /// Two words for each item: its ticket, then its index and outcome.
    released: Vec<u64>,
    edits: Edits,
    created: Vec<u8>,
    /// A buffer for the edits of one forwarded item. It is a field so that its capacity is reused.
    scratch: Edits,
}

impl Emission {
    /// Adds an item and returns its position.
    fn put(&mut self, released: Release) -> u32 {
        let position = word(self.released.len() / 2);
        self.released.extend_from_slice(&released.words());
        position
    }
}

thread_local! {
    static EMISSION: RefCell<Emission> = RefCell::default();
}

/// One item that was released.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Release {
    pub(crate) ticket: u64,
    pub(crate) index: u32,
    pub(crate) outcome: u8,
}

impl Release {
    fn words(self) -> [u64; 2] {
        [
            self.ticket,
            u64::from(self.index) | u64::from(self.outcome) << 32,
        ]
    }

    #[expect(
        clippy::cast_possible_truncation,
        reason = "the parts that `words` put together"
    )]
    pub(crate) fn from_words([ticket, rest]: [u64; 2]) -> Self {
        Self {
            ticket,
            index: rest as u32,
            outcome: (rest >> 32) as u8,
        }
    }
}

/// Sends spans that the plugin made to the next stage, with the reply of the current call. Outside
/// of a call they wait for the next one.
///
/// ```
/// # use spandrel_guest::prelude::*;
/// emit(
///     NewResource::new()
///         .attribute("service.name", "shop")
///         .span(&NewSpan::new([1; 16], [2; 8], "summary").attribute("orders", 3)),
/// );
/// ```
pub fn emit(created: NewResource) {
    EMISSION.with_borrow_mut(|emission| created.put(&mut emission.created));
}

/// Releases one item.
pub(crate) fn release(released: Release) {
    // A thread that is ending has no emission any more. This happens only in native tests.
    let written = EMISSION.try_with(|emission| {
        emission.borrow_mut().put(released);
    });
    written.unwrap_or_default();
}

/// Releases one item with the edits that `edit` writes, all under the index zero. The emission is
/// not borrowed while `edit` runs: the author's code may emit spans and settle other items.
pub(crate) fn release_with(released: Release, edit: impl FnOnce(&mut Edits)) {
    let scratch = EMISSION.try_with(|emission| std::mem::take(&mut emission.borrow_mut().scratch));
    let mut edits = scratch.unwrap_or_default();
    edit(&mut edits);
    let written = EMISSION.try_with(|emission| {
        let emission = &mut *emission.borrow_mut();
        let position = emission.put(released);
        emission.edits.adopt(&edits, 0, position);
        edits.clear();
        emission.scratch = edits;
    });
    written.unwrap_or_default();
}

/// Returns the number of items released so far, for [`forget_since`].
pub(crate) fn count() -> u32 {
    EMISSION.with_borrow(|emission| word(emission.released.len() / 2))
}

/// Forgets the items that were released after the first `count`, and returns how many these are.
/// Spans that the plugin made stay.
pub(crate) fn forget_since(count: u32) -> u32 {
    EMISSION.with_borrow_mut(|emission| {
        let forgotten = word(emission.released.len() / 2).saturating_sub(count);
        emission.released.truncate(count as usize * 2);
        emission.edits.truncate(count);
        forgotten
    })
}

/// Takes the releases of the current batch out of the emission: spans that were held and settled
/// within one call are verdicts, not releases.
pub(crate) fn settle_within(ticket: u64, mut settle: impl FnMut(Release, &Edits, u32)) {
    EMISSION.with_borrow_mut(|emission| {
        let of_this_batch = |words: &[u64; 2]| Release::from_words(*words).ticket == ticket;
        let (pairs, _) = emission.released.as_chunks::<2>();
        if !pairs.iter().any(of_this_batch) {
            return;
        }
        let (mut released, mut edits) = (Vec::new(), Edits::default());
        for (position, words) in (0_u32..).zip(pairs) {
            if of_this_batch(words) {
                settle(Release::from_words(*words), &emission.edits, position);
            } else {
                edits.adopt(&emission.edits, position, word(released.len() / 2));
                released.extend_from_slice(words);
            }
        }
        emission.released = released;
        emission.edits = edits;
    });
}

/// Returns the collected emission, in buffers of the exact size, and starts a new one.
pub(crate) fn take() -> types::Emission {
    EMISSION.with_borrow_mut(|emission| {
        let taken = types::Emission {
            released: emission.released.as_slice().to_vec(),
            edits: emission.edits.words().to_vec(),
            blob: emission.edits.blob_in_use().to_vec(),
            created: emission.created.as_slice().to_vec(),
        };
        emission.released.clear();
        emission.edits.clear();
        emission.created.clear();
        taken
    })
}

/// Like [`take`], but returns `None` if nothing was collected.
pub(crate) fn take_if_any() -> Option<types::Emission> {
    let empty = EMISSION
        .with_borrow(|emission| emission.released.is_empty() && emission.created.is_empty());
    (!empty).then(take)
}

/// Discards the collected emission: a new instance starts with an empty one.
pub(crate) fn reset() {
    EMISSION.take();
}

/// Swaps this thread's emission with another one. Only native tests have several instances on one
/// thread.
#[cfg(not(target_arch = "wasm32"))]
pub(crate) fn exchange(other: &mut Emission) {
    EMISSION.with_borrow_mut(|emission| std::mem::swap(emission, other));
}
