//! A span that the host keeps for the plugin, and its edits when it is forwarded.

use serde::{Deserialize, Serialize, Serializer};
use spandrel_wire::{Operation, SpanKind, Status, write_status};

use crate::edits::{Edits, kind_snippet};
use crate::emission::{self, KEEP, Release, UNDISPOSED};
use crate::manifest::Reason;
use crate::value::{AttributeValue, write_attribute};

/// A handle to a held span. The bytes of the span stay with the host.
///
/// The span is settled once, by [`forward`](Self::forward), [`forward_with`](Self::forward_with) or
/// [`drop`](Self::drop), in this call or any later one. Destroying a `Held` without settling it
/// drops its span with the reason `undisposed`. A `Held` can be written into a
/// [`snapshot`](crate::Plugin::snapshot), by reference: it stays valid in the next generation.
#[derive(Debug, PartialEq, Eq, Hash, Deserialize)]
#[serde(from = "(u64, u32)")]
#[must_use = "a held span that is not kept anywhere is dropped as `undisposed`"]
pub struct Held {
    /// The batch's ticket; zero once the span is settled, because the host never uses that ticket.
    ticket: u64,
    index: u32,
}

impl From<(u64, u32)> for Held {
    fn from((ticket, index): (u64, u32)) -> Self {
        Self { ticket, index }
    }
}

impl Serialize for Held {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (self.ticket, self.index).serialize(serializer)
    }
}

impl Held {
    pub(crate) fn new(ticket: u64, index: u32) -> Self {
        Self { ticket, index }
    }

    /// Returns the handle in twelve bytes, for a snapshot. The `Held` itself stays: it must still
    /// be settled if the snapshot is not used.
    pub fn to_bytes(&self) -> [u8; 12] {
        let mut bytes = [0; 12];
        let (ticket, index) = bytes.split_at_mut(8);
        ticket.copy_from_slice(&self.ticket.to_le_bytes());
        index.copy_from_slice(&self.index.to_le_bytes());
        bytes
    }

    /// Reads a handle from a snapshot.
    pub fn from_bytes(bytes: [u8; 12]) -> Self {
        let [a, b, c, d, e, f, g, h, index @ ..] = bytes;
        Self {
            ticket: u64::from_le_bytes([a, b, c, d, e, f, g, h]),
            index: u32::from_le_bytes(index),
        }
    }

    /// Sends the span to the next stage as it came.
    pub fn forward(self) {
        self.settle(KEEP);
    }

    /// Sends the span to the next stage with edits.
    pub fn forward_with(mut self, edit: impl FnOnce(&mut SpanEdits<'_>)) {
        let release = self.take(KEEP);
        emission::release_with(release, |edits| edit(&mut SpanEdits::new(edits, 0)));
    }

    /// Drops the span.
    pub fn drop(self, reason: Reason) {
        self.settle(reason.outcome());
    }

    fn settle(mut self, outcome: u8) {
        emission::release(self.take(outcome));
    }

    fn take(&mut self, outcome: u8) -> Release {
        Release {
            ticket: std::mem::take(&mut self.ticket),
            index: self.index,
            outcome,
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if self.ticket != 0 {
            emission::release(self.take(UNDISPOSED));
        }
    }
}

/// The changes to a held span as it is forwarded (see [`Held::forward_with`]).
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
