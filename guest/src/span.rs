//! A span of the batch in hand.

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

/// A span of the batch in hand.
///
/// It reads like a [`wire::Span`](crate::wire::Span), field by field as they are asked for. What is
/// read is what came: edits show after the plugin, not here.
#[derive(Debug)]
pub struct Span<'b> {
    batch: &'b Batch,
    /// As it stands in the bytes that came: perhaps with nothing but what the plugin reads.
    placed: PlacedSpan<'b>,
    /// The whole of it, once that was wanted and was not there.
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

    /// Keeps the span: what happens without a word as well, and what takes back a [`drop`](Self::drop).
    #[track_caller]
    pub fn keep(self) {
        self.batch.say(self.placed.index, KEEP);
    }

    /// Lets the span go for good.
    #[track_caller]
    pub fn drop(self, reason: Reason) {
        self.batch.say(self.placed.index, reason.outcome());
    }

    /// Leaves the span with the host until its [`Held`] settles it, in this call or a later one.
    ///
    /// # Panics
    /// When the span is held already.
    #[track_caller]
    pub fn hold(self) -> Held {
        self.batch.say(self.placed.index, HOLD);
        Held::new(self.batch.ticket(), self.placed.index)
    }

    /// Sets an attribute, in place of one with the same key.
    pub fn set_attribute(&self, key: &str, value: impl AttributeValue) {
        self.edit(Operation::UpsertAttribute, |blob| {
            write_attribute(blob, key, &value)
        });
    }

    /// Sets an attribute that was written before (see [`Batch::prepare`]).
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

    /// Sets the words about how the work ended; the code stays as it came.
    pub fn set_status_message(&self, message: &str) {
        let code = self.status().code;
        self.set_status(Status { code, message });
    }

    /// All of it, to be changed and put in its place: links, the attributes of events, flags, trace state,
    /// fields that this library does not know. Where edits say enough they cost less.
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

    /// Puts another span in its place, within the same resource and scope. What was not copied into that
    /// one is gone, edits that were said before included: [`to_new`](Self::to_new) copies all.
    pub fn replace(&self, span: &NewSpan) {
        self.edit(Operation::Replace, |blob| {
            blob.extend_from_slice(span.bytes())
        });
    }

    /// The resource that the span came from.
    #[inline]
    pub fn resource(&self) -> Resource<'b> {
        Resource::of(self.batch, &self.placed)
    }

    /// The scope that made the span.
    #[inline]
    pub fn scope(&self) -> Scope<'b> {
        Scope::of(self.batch, &self.placed)
    }

    /// The number of the span in its batch, from 0.
    #[inline]
    pub fn index(&self) -> u32 {
        self.placed.index
    }

    fn edit(&self, operation: Operation, write: impl FnOnce(&mut Vec<u8>)) {
        self.batch.edit(operation, self.placed.index, write);
    }
}
