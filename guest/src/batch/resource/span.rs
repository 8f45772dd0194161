//! A span of the current batch.

use std::cell::OnceCell;
use std::ops::Deref;
use std::time::Duration;

use spandrel_wire::{
    Attributes, Event, Link, Operation, PlacedSpan, SpanKind, Status, Value, write_status,
};

use super::{Resource, Scope};
use crate::batch::{Batch, Prepared};
use crate::created::NewSpan;
use crate::edits::kind_snippet;
use crate::emission::{HOLD, KEEP};
use crate::held::Held;
use crate::manifest::Reason;
use crate::reads::Keys;
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
    pub(in crate::batch) fn new(batch: &'b Batch, placed: PlacedSpan<'b>) -> Self {
        Self {
            batch,
            placed,
            whole: OnceCell::new(),
        }
    }

    // === Reading: as a `wire::Span`, but the first walk through the bytes serves all calls ===

    /// Returns the id of its trace: 16 bytes, or none.
    #[inline]
    pub fn trace_id(&self) -> &'b [u8] {
        self.part(1).trace_id()
    }

    /// Returns its own id: 8 bytes, or none.
    #[inline]
    pub fn span_id(&self) -> &'b [u8] {
        self.part(2).span_id()
    }

    /// Returns the W3C `tracestate`, as it came.
    pub fn trace_state(&self) -> &'b str {
        self.part(3).trace_state()
    }

    /// Returns the id of its parent: 8 bytes, or none.
    #[inline]
    pub fn parent_span_id(&self) -> &'b [u8] {
        self.part(4).parent_span_id()
    }

    /// Returns true if it has no parent.
    #[inline]
    pub fn is_root(&self) -> bool {
        self.part(4).is_root()
    }

    /// Returns its name.
    #[inline]
    pub fn name(&self) -> &'b str {
        self.part(5).name()
    }

    /// Returns its role in a call.
    pub fn kind(&self) -> SpanKind {
        self.part(6).kind()
    }

    /// Returns its start time, in nanoseconds since 1970.
    pub fn start_time_unix_nano(&self) -> u64 {
        self.part(7).start_time_unix_nano()
    }

    /// Returns its end time, in nanoseconds since 1970.
    pub fn end_time_unix_nano(&self) -> u64 {
        self.part(8).end_time_unix_nano()
    }

    /// Returns the time from its start to its end; zero if they are in the wrong order.
    pub fn duration(&self) -> Duration {
        let end = self.end_time_unix_nano();
        Duration::from_nanos(end.saturating_sub(self.start_time_unix_nano()))
    }

    /// Returns the flags: W3C flags in the low 8 bits, OTLP's own above.
    pub fn flags(&self) -> u32 {
        self.part(16).flags()
    }

    /// Returns its attributes.
    #[inline]
    pub fn attributes(&self) -> Attributes<'b> {
        match self.watched(9) {
            Some(whole) => whole.attributes(),
            None => self.attributes_part().attributes(),
        }
    }

    /// Returns the value of its first attribute with this key.
    #[inline]
    pub fn attribute(&self, key: &str) -> Option<Value<'b>> {
        let found = self.attributes_part().attribute(key);
        if self.batch.reads.are_watched() {
            self.watched_attribute(key, found)
        } else {
            found
        }
    }

    /// Returns the value of its first attribute with this key, if it is a text.
    #[inline]
    pub fn attribute_str(&self, key: &str) -> Option<&'b str> {
        self.attribute(key).and_then(Value::as_str)
    }

    /// Returns its attributes with one of these keys, in the order in which they stand: the index
    /// of the key in `keys`, and the value. One walk finds them all, and the values of other
    /// attributes are not parsed.
    #[inline]
    pub fn select(&self, keys: &Keys) -> impl Iterator<Item = (usize, Value<'b>)> {
        let attributes = if self.batch.reads.are_watched() && self.batch.reads.keys(keys) {
            self.batch.whole().span(self.placed.index).attributes()
        } else {
            self.attributes_part().attributes()
        };
        attributes.select(&keys.keys)
    }

    /// Returns the number of attributes that the sender left out.
    pub fn dropped_attributes_count(&self) -> u32 {
        self.part(10).dropped_attributes_count()
    }

    /// Returns its events.
    pub fn events(&self) -> impl Iterator<Item = Event<'b>> + Clone + use<'b> {
        self.part(11).events()
    }

    /// Returns its links to other spans.
    pub fn links(&self) -> impl Iterator<Item = Link<'b>> + Clone + use<'b> {
        self.part(13).links()
    }

    /// Returns the status of its work.
    pub fn status(&self) -> Status<'b> {
        self.part(15).status()
    }

    /// Returns true if its status is "error".
    pub fn is_error(&self) -> bool {
        self.part(15).is_error()
    }

    #[inline]
    fn part(&self, field: usize) -> spandrel_wire::Span<'b> {
        match self.watched(field) {
            Some(whole) => whole,
            None => self.batch.part(self.placed.index, self.placed.span, field),
        }
    }

    /// Returns the part with the attributes. It does not walk the whole span: a plugin that reads
    /// only one attribute must not pay for that.
    #[inline]
    fn attributes_part(&self) -> spandrel_wire::Span<'b> {
        self.batch
            .attributes_part(self.placed.index, self.placed.span)
    }

    /// Returns the whole span if this field may be missing from the projection.
    #[inline]
    fn watched(&self, field: usize) -> Option<spandrel_wire::Span<'b>> {
        if !self.batch.reads.are_watched() {
            return None;
        }
        match field {
            9 | 11 | 13 => self.batch.reads.whole(),
            _ => self.batch.reads.fields(),
        }
        .then(|| self.batch.whole().span(self.placed.index))
    }

    /// Notes the lookup, and fetches an attribute that may be missing. A projection has all
    /// attributes with a key or none, so one that was found is right.
    #[inline(never)]
    fn watched_attribute(&self, key: &str, found: Option<Value<'b>>) -> Option<Value<'b>> {
        let may_miss = self.batch.reads.attribute(key);
        if found.is_some() || !may_miss {
            return found;
        }
        self.batch.whole().span(self.placed.index).attribute(key)
    }

    /// Returns the whole span, for reading it as a [`wire::Span`](crate::wire::Span).
    #[inline(never)]
    fn watched_whole(&self) -> &spandrel_wire::Span<'b> {
        if self.batch.reads.whole() {
            let fetch = || self.batch.whole().span(self.placed.index);
            self.whole.get_or_init(fetch)
        } else {
            &self.placed.span
        }
    }

    // === Verdicts and edits ===

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
