//! Reading a span of the batch in hand.
//!
//! The same questions as a [`wire::Span`] answers, but where that walks through its bytes for each,
//! here the first walk serves all. In a projection, what was left out is fetched when it is wanted.

use std::time::Duration;

use spandrel_wire as wire;
use spandrel_wire::{Attributes, Event, Link, SpanKind, Status, Value};

use super::Span;
use crate::keys::Keys;

impl<'b> Span<'b> {
    /// The trace that it belongs to: 16 bytes, or none.
    #[inline]
    pub fn trace_id(&self) -> &'b [u8] {
        self.part(1).trace_id()
    }

    /// Its own id: 8 bytes, or none.
    #[inline]
    pub fn span_id(&self) -> &'b [u8] {
        self.part(2).span_id()
    }

    /// The `tracestate` of W3C, as it came.
    pub fn trace_state(&self) -> &'b str {
        self.part(3).trace_state()
    }

    /// The id of its parent: 8 bytes, or none.
    #[inline]
    pub fn parent_span_id(&self) -> &'b [u8] {
        self.part(4).parent_span_id()
    }

    /// Whether it has no parent.
    #[inline]
    pub fn is_root(&self) -> bool {
        self.part(4).is_root()
    }

    /// Its name.
    #[inline]
    pub fn name(&self) -> &'b str {
        self.part(5).name()
    }

    /// The part it plays in a call.
    pub fn kind(&self) -> SpanKind {
        self.part(6).kind()
    }

    /// When it began, in nanoseconds since 1970.
    pub fn start_time_unix_nano(&self) -> u64 {
        self.part(7).start_time_unix_nano()
    }

    /// When it ended, in nanoseconds since 1970.
    pub fn end_time_unix_nano(&self) -> u64 {
        self.part(8).end_time_unix_nano()
    }

    /// From its begin to its end; zero when they are the wrong way round.
    pub fn duration(&self) -> Duration {
        let end = self.end_time_unix_nano();
        Duration::from_nanos(end.saturating_sub(self.start_time_unix_nano()))
    }

    /// The flags of W3C in the low 8 bits, OTLP's own above.
    pub fn flags(&self) -> u32 {
        self.part(16).flags()
    }

    /// Its attributes.
    #[inline]
    pub fn attributes(&self) -> Attributes<'b> {
        match self.watched(9) {
            Some(whole) => whole.attributes(),
            None => self.attributes_part().attributes(),
        }
    }

    /// The value of its first attribute with this key.
    #[inline]
    pub fn attribute(&self, key: &str) -> Option<Value<'b>> {
        let found = self.attributes_part().attribute(key);
        if self.batch.reads.are_watched() {
            self.watched_attribute(key, found)
        } else {
            found
        }
    }

    /// The same, when it is a text.
    #[inline]
    pub fn attribute_str(&self, key: &str) -> Option<&'b str> {
        self.attribute(key).and_then(Value::as_str)
    }

    /// Those of its attributes that have one of these keys, in the order in which they stand: the place of
    /// the key among `keys`, and the value. It is one walk for all, and the values of other attributes are
    /// not read.
    #[inline]
    pub fn select(&self, keys: &Keys) -> impl Iterator<Item = (usize, Value<'b>)> {
        let attributes = if self.batch.reads.are_watched() && self.batch.reads.keys(keys) {
            self.batch.whole().span(self.placed.index).attributes()
        } else {
            self.attributes_part().attributes()
        };
        attributes.select(&keys.keys)
    }

    /// How many attributes the sender left out.
    pub fn dropped_attributes_count(&self) -> u32 {
        self.part(10).dropped_attributes_count()
    }

    /// Its events.
    pub fn events(&self) -> impl Iterator<Item = Event<'b>> + Clone + use<'b> {
        self.part(11).events()
    }

    /// Its links to other spans.
    pub fn links(&self) -> impl Iterator<Item = Link<'b>> + Clone + use<'b> {
        self.part(13).links()
    }

    /// How its work ended.
    pub fn status(&self) -> Status<'b> {
        self.part(15).status()
    }

    /// Whether its status says error.
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

    /// A plugin that looks at one attribute and nothing else must not pay for a whole walk.
    #[inline]
    fn attributes_part(&self) -> wire::Span<'b> {
        self.batch
            .attributes_part(self.placed.index, self.placed.span)
    }

    /// The whole span, when this field of it may be missing.
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

    /// A projection has all attributes with a key or none: what is found in it is right.
    #[inline(never)]
    fn watched_attribute(&self, key: &str, found: Option<Value<'b>>) -> Option<Value<'b>> {
        let may_miss = self.batch.reads.attribute(key);
        if found.is_some() || !may_miss {
            return found;
        }
        self.batch.whole().span(self.placed.index).attribute(key)
    }

    /// The whole span for whoever reads it as a [`wire::Span`].
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
