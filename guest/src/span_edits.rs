//! The edits of one held span.

use spandrel_wire::{Operation, SpanKind, Status, write_status};

use crate::edits::{Edits, kind_snippet};
use crate::value::{AttributeValue, write_attribute};

/// The changes to a held span as it is forwarded (see [`Held::forward_with`]).
///
/// [`Held::forward_with`]: crate::Held::forward_with
#[derive(Debug)]
pub struct SpanEdits<'e> {
    edits: &'e mut Edits,
    index: u32,
}

impl<'e> SpanEdits<'e> {
    pub(crate) fn new(edits: &'e mut Edits, index: u32) -> Self {
        Self { edits, index }
    }

    /// Sets an attribute. It replaces one with the same key.
    pub fn set_attribute(&mut self, key: &str, value: impl AttributeValue) -> &mut Self {
        self.write(Operation::UpsertAttribute, |blob| {
            write_attribute(blob, key, &value)
        })
    }

    /// Deletes an attribute, if it is there.
    pub fn delete_attribute(&mut self, key: &str) -> &mut Self {
        self.write(Operation::DeleteAttribute, |blob| {
            blob.extend_from_slice(key.as_bytes())
        })
    }

    /// Renames the span.
    pub fn set_name(&mut self, name: &str) -> &mut Self {
        self.write(Operation::SetName, |blob| {
            blob.extend_from_slice(name.as_bytes())
        })
    }

    /// Sets the span's kind.
    pub fn set_kind(&mut self, kind: SpanKind) -> &mut Self {
        self.edits
            .push(Operation::SetKind, self.index, kind_snippet(kind));
        self
    }

    /// Sets the span's status.
    pub fn set_status(&mut self, status: Status<'_>) -> &mut Self {
        self.write(Operation::SetStatus, |blob| write_status(blob, status))
    }

    fn write(&mut self, operation: Operation, write: impl FnOnce(&mut Vec<u8>)) -> &mut Self {
        let snippet = self.edits.intern(write);
        self.edits.push(operation, self.index, snippet);
        self
    }
}
