//! Builds requests out of held items.

use alloc::vec::Vec;

use crate::edit::bad_reply::BadReply;
use crate::edit::edits::Edits;
use crate::edit::held_items::HeldItems;
use crate::edit::target_edits::TargetEdits;
use crate::write::group::Group;
use crate::write::nested;

/// Builds one request out of held items, in the order in which they are given. Consecutive items
/// that have the same resource and scope share one entry, even if they come from different batches.
#[derive(Clone, Debug, Default)]
pub struct Assembler {
    group: Group,
    items: usize,
}

impl Assembler {
    /// Makes an empty assembler.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds the item at a position of `held`, with these edits. All of them must be edits of this
    /// item that passed [`crate::check_item_edits`]; their index is not checked.
    pub fn push(
        &mut self,
        held: &HeldItems,
        position: usize,
        edits: Edits<'_>,
    ) -> Result<(), BadReply> {
        let Some((resource, scope)) = held.headers_of(position) else {
            return Err(BadReply::NotHeld {
                position,
                held: held.len(),
            });
        };
        if self.group.resource_header() != Some(resource) {
            self.group.enter_resource(resource);
            self.group.enter_scope(scope);
        } else if self.group.scope_header() != Some(scope) {
            self.group.enter_scope(scope);
        }
        let span = held.span(position);
        let out = self.group.out();
        let open = nested::begin(out, 2, span.len());
        if edits.is_empty() {
            out.extend_from_slice(span);
        } else {
            let mut target = TargetEdits::default();
            target.read(edits.words.as_chunks::<4>().0, edits.blob);
            target.write_span(out, span);
        }
        nested::end(out, open);
        self.items += 1;
        Ok(())
    }

    /// Returns the number of items in it.
    pub fn items(&self) -> usize {
        self.items
    }

    /// Returns the request, and the number of items in it.
    pub fn finish(self) -> (Vec<u8>, usize) {
        (self.group.finish(), self.items)
    }
}
