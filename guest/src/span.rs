//! A span of the current batch.

mod read;

use std::cell::OnceCell;
use std::ops::Deref;

use spandrel_wire::{Operation, PlacedSpan, SpanKind, Status, write_status};

use crate::batch::{Batch, Prepared};
use crate::created::NewSpan;
use crate::edits::kind_snippet;
use crate::emission::{HOLD, KEEP};
use crate::held::Held;
use crate::plugin::Reason;
use crate::resource::{Resource, Scope};
use crate::value::{AttributeValue, write_attribute};

/// A span of the current batch.
///
/// It is read like a [`wire::Span`](crate::wire::Span); each field is parsed when it is asked for.
/// Reads return the span as it came: edits take effect after the plugin and are not visible here.
#[derive(Debug)]
pub struct Span<'b> {
    batch: &'b Batch,
    /// The span in the bytes that came. In a projection it has only the parts that the plugin
    /// reads.
    placed: PlacedSpan<'b>,
    /// The whole span, once something was needed that the projection does not have.
    whole: OnceCell<spandrel_wire::Span<'b>>,
}

impl<'b> Deref for Span<'b> {
    type Target = spandrel_wire::Span<'b>;

    #[inline]
    fn deref(&self) -> &Self::Target {
        if self.batch.reads.are_watched() {
            self.watched_whole()
        } else {
            &self.placed.span
        }
    }
}

impl<'b> Span<'b> {
    #[inline]
    pub(crate) fn new(batch: &'b Batch, placed: PlacedSpan<'b>) -> Self {
        Self {
            batch,
            placed,
            whole: OnceCell::new(),
        }
    }

    /// Keeps the span. This is the default; calling it reverts a [`drop`](Self::drop).
    #[track_caller]
    pub fn keep(self) {
        self.batch.say(self.placed.index, KEEP);
    }

    /// Drops the span.
    #[track_caller]
    pub fn drop(self, reason: Reason) {
        self.batch.say(self.placed.index, reason.outcome());
    }

    /// Leaves the span with the host until its [`Held`] settles it, in this call or a later one.
    ///
    /// # Panics
    /// Panics if the span is held already.
    #[track_caller]
    pub fn hold(self) -> Held {
        self.batch.say(self.placed.index, HOLD);
        Held::new(self.batch.ticket(), self.placed.index)
    }

    /// Sets an attribute. It replaces one with the same key.
    pub fn set_attribute(&self, key: &str, value: impl AttributeValue) {
        self.edit(Operation::UpsertAttribute, |blob| {
            write_attribute(blob, key, &value)
        });
    }

    /// Sets an attribute that was prepared (see [`Batch::prepare`]).
    #[inline]
    pub fn set(&self, attribute: Prepared<'b>) {
        self.batch.push(
            Operation::UpsertAttribute,
            self.placed.index,
            attribute.snippet,
        );
    }

    /// Deletes an attribute, if it is there.
    pub fn delete_attribute(&self, key: &str) {
        self.edit(Operation::DeleteAttribute, |blob| {
            blob.extend_from_slice(key.as_bytes())
        });
    }

    /// Renames the span.
    pub fn set_name(&self, name: &str) {
        self.edit(Operation::SetName, |blob| {
            blob.extend_from_slice(name.as_bytes())
        });
    }

    /// Sets the span's kind.
    pub fn set_kind(&self, kind: SpanKind) {
        self.batch
            .push(Operation::SetKind, self.placed.index, kind_snippet(kind));
    }

    /// Sets the span's status.
    pub fn set_status(&self, status: Status<'_>) {
        self.edit(Operation::SetStatus, |blob| write_status(blob, status));
    }

    /// Sets the message of the status; the code stays as it came.
    pub fn set_status_message(&self, message: &str) {
        let code = self.status().code;
        self.set_status(Status { code, message });
    }

    /// Returns a copy of the whole span, for [`replace`](Self::replace). It can change what edits
    /// cannot: links, the attributes of events, flags, trace state, fields that this library does
    /// not know. Where edits are enough, they cost less.
    ///
    /// ```
    /// # use spandrel_guest::prelude::*;
    /// fn without_stack_traces(span: &Span<'_>) {
    ///     let shorter = |event: Event<'_>| Some(NewEvent::from(event).delete_attribute("exception.stacktrace"));
    ///     span.replace(&span.to_new().change_events(shorter));
    /// }
    /// ```
    pub fn to_new(&self) -> NewSpan {
        NewSpan::from(**self)
    }

    /// Replaces the span by another one, within the same resource and scope. Anything that was not
    /// copied into the other is gone, including earlier edits. [`to_new`](Self::to_new) copies all.
    pub fn replace(&self, span: &NewSpan) {
        self.edit(Operation::Replace, |blob| {
            blob.extend_from_slice(span.bytes())
        });
    }

    /// Returns the resource that the span came from.
    #[inline]
    pub fn resource(&self) -> Resource<'b> {
        Resource::of(self.batch, &self.placed)
    }

    /// Returns the scope that made the span.
    #[inline]
    pub fn scope(&self) -> Scope<'b> {
        Scope::of(self.batch, &self.placed)
    }

    /// Returns the index of the span in its batch, from 0.
    #[inline]
    pub fn index(&self) -> u32 {
        self.placed.index
    }

    fn edit(&self, operation: Operation, write: impl FnOnce(&mut Vec<u8>)) {
        self.batch.edit(operation, self.placed.index, write);
    }
}
