//! Reading a span of the current batch.
//!
//! The functions are those of a [`wire::Span`]. A [`wire::Span`] walks through its bytes for each
//! call; here the first walk serves all calls. In a projection, a part that was left out is fetched
//! when it is asked for.

use std::time::Duration;

use spandrel_wire as wire;
use spandrel_wire::{Attributes, Event, Link, SpanKind, Status, Value};

use super::Span;
use crate::keys::Keys;

impl<'b> Span<'b> {
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
    fn part(&self, field: usize) -> wire::Span<'b> {
        match self.watched(field) {
            Some(whole) => whole,
            None => self.batch.part(self.placed.index, self.placed.span, field),
        }
    }

    /// Returns the part with the attributes. It does not walk the whole span: a plugin that reads
    /// only one attribute must not pay for that.
    #[inline]
    fn attributes_part(&self) -> wire::Span<'b> {
        self.batch
            .attributes_part(self.placed.index, self.placed.span)
    }

    /// Returns the whole span if this field may be missing from the projection.
    #[inline]
    fn watched(&self, field: usize) -> Option<wire::Span<'b>> {
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

    /// Returns the whole span, for reading it as a [`wire::Span`].
    #[inline(never)]
    pub(super) fn watched_whole(&self) -> &wire::Span<'b> {
        if self.batch.reads.whole() {
            let fetch = || self.batch.whole().span(self.placed.index);
            self.whole.get_or_init(fetch)
        } else {
            &self.placed.span
        }
    }
}
