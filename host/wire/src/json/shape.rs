//! The fields of OTLP's messages with their names in JSON, as data for both directions.
//!
//! Fields stand in the order in which they are written, and in which most exporters write them.

use crate::json::names::Names;
use crate::read::signal::Signal;

mod attributes;
mod logs;
mod metrics;
mod response;
mod traces;

/// The kind of a field's values.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    Text,
    Bool,
    Enum(Names),
    Int32,
    Sint32,
    Uint32,
    Fixed32,
    Int64,
    Uint64,
    Fixed64,
    Sfixed64,
    Double,
    TraceId,
    SpanId,
    Bytes,
    Message(&'static Shape),
    /// An attribute, which is most of every request.
    Attribute,
}

/// The meaning of a field that is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Presence {
    /// The default value. It is not written.
    Implicit,
    /// Nothing: every value is written.
    Explicit,
    /// Nothing: it is one of several fields of which at most one is there.
    Choice,
    /// An empty list.
    List,
}

/// The number of fields that are looked at before the key is read as a text.
const LIKELY: usize = 8;

/// One field of a message.
#[derive(Debug)]
pub(super) struct Field {
    /// Its name in JSON.
    pub(super) name: &'static str,
    /// Its name in the proto files, which parsers take, too.
    original: &'static str,
    /// The name in JSON with quotes and colon, as words for comparison.
    member: Words,
    pub(super) kind: Kind,
    pub(super) presence: Presence,
    /// Its number, and its wire type in the low three bits.
    pub(super) key: u32,
}

/// The length that a message probably has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Usual {
    /// Fewer than 128 bytes.
    Short,
    /// Fewer than 16 KiB.
    Middle,
    /// In the end most of the request: the length follows from that of the text.
    Most,
}

/// The fields of a message.
#[derive(Debug)]
pub(super) struct Shape {
    pub(super) fields: &'static [Field],
    pub(super) usual: Usual,
    /// True for values, each of which is a level of nesting.
    pub(super) is_level: bool,
}

/// Returns the shape of the requests of a signal.
pub(super) fn request(signal: Signal) -> &'static Shape {
    match signal {
        Signal::Traces => &traces::REQUEST,
        Signal::Metrics => &metrics::REQUEST,
        Signal::Logs => &logs::REQUEST,
    }
}

/// Returns the shape of the answers to requests of a signal.
pub(super) fn response(signal: Signal) -> &'static Shape {
    match signal {
        Signal::Traces => &response::TRACES,
        Signal::Metrics => &response::METRICS,
        Signal::Logs => &response::LOGS,
    }
}

/// The shape of an attribute.
pub(super) use attributes::KEY_VALUE;

/// The longest name that is compared as words. Longer ones are rare.
const WORDS: usize = 3;

/// A key with quotes and colon, as it stands in a text without white space.
#[derive(Debug)]
struct Words {
    words: [u64; WORDS],
    masks: [u64; WORDS],
    /// The length; none of a name that is too long.
    len: usize,
}

impl Words {
    #[expect(clippy::indexing_slicing, reason = "it is computed by the compiler")]
    const fn new(mut name: &[u8]) -> Self {
        let mut bytes = [[0; 8]; WORDS];
        let mut masks = [[0; 8]; WORDS];
        let mut len = 0;
        let whole = name.len() + 3;
        if whole > 8 * WORDS {
            let [words, masks] = [[u64::MAX; WORDS], [u64::MAX; WORDS]];
            return Self { words, masks, len };
        }
        while len < whole {
            let byte = match name {
                _ if len == 0 => b'"',
                [byte, rest @ ..] => {
                    name = rest;
                    *byte
                }
                [] if len + 1 == whole => b':',
                [] => b'"',
            };
            bytes[len / 8][len % 8] = byte;
            masks[len / 8][len % 8] = u8::MAX;
            len += 1;
        }
        let mut read = [[0; WORDS]; 2];
        let mut word = 0;
        while word < WORDS {
            read[0][word] = u64::from_le_bytes(bytes[word]);
            read[1][word] = u64::from_le_bytes(masks[word]);
            word += 1;
        }
        let [words, masks] = read;
        Self { words, masks, len }
    }

    #[inline(always)]
    fn are_at(&self, text: &[u64; WORDS]) -> bool {
        let mut other = 0;
        for ((word, mask), read) in self.words.iter().zip(&self.masks).zip(text) {
            other |= (word ^ read) & mask;
        }
        other == 0
    }
}

impl Field {
    /// Returns a field that has its default value if it is not there.
    const fn new(number: u32, name: &'static str, original: &'static str, kind: Kind) -> Self {
        Self {
            name,
            original,
            member: Words::new(name.as_bytes()),
            kind,
            presence: Presence::Implicit,
            key: number << 3 | wire_type(kind),
        }
    }

    /// Returns a field whose names are one word.
    const fn word(number: u32, name: &'static str, kind: Kind) -> Self {
        Self::new(number, name, name, kind)
    }

    const fn explicit(mut self) -> Self {
        self.presence = Presence::Explicit;
        self
    }

    const fn choice(mut self) -> Self {
        self.presence = Presence::Choice;
        self
    }

    /// Makes it a list. Numbers in a list are packed into one field.
    const fn list(mut self) -> Self {
        self.presence = Presence::List;
        self.key = self.key & !7 | 2;
        self
    }

    /// Returns its number.
    pub(super) const fn number(&self) -> u32 {
        self.key >> 3
    }
}

const fn wire_type(kind: Kind) -> u32 {
    match kind {
        Kind::Bool | Kind::Enum(_) | Kind::Int32 | Kind::Sint32 | Kind::Uint32 => 0,
        Kind::Int64 | Kind::Uint64 => 0,
        Kind::Fixed64 | Kind::Sfixed64 | Kind::Double => 1,
        Kind::Text | Kind::TraceId | Kind::SpanId | Kind::Bytes => 2,
        Kind::Message(_) | Kind::Attribute => 2,
        Kind::Fixed32 => 5,
    }
}

impl Shape {
    const fn new(usual: Usual, fields: &'static [Field]) -> Self {
        Self {
            fields,
            usual,
            is_level: false,
        }
    }

    /// Returns the place of the field whose key a text begins with, and the length of the key with
    /// quotes and colon. Only a few places from `likely` on are looked at: most exporters write the
    /// keys in the same order.
    #[inline(always)]
    pub(super) fn next_place(&self, text: &[u8], likely: usize) -> Option<(usize, usize)> {
        let bytes = text.first_chunk::<{ 8 * WORDS }>()?;
        let mut words = [0; WORDS];
        for (word, bytes) in words.iter_mut().zip(bytes.as_chunks::<8>().0) {
            *word = u64::from_le_bytes(*bytes);
        }
        for (place, field) in self.fields.iter().enumerate().skip(likely).take(LIKELY) {
            if field.member.are_at(&words) {
                return Some((place, field.member.len));
            }
        }
        None
    }

    /// Returns the place of the field with this name, in JSON or in the proto files.
    #[inline(never)]
    pub(super) fn place(&self, name: &[u8]) -> Option<usize> {
        self.fields
            .iter()
            .position(|field| field.name.as_bytes() == name || field.original.as_bytes() == name)
    }

    /// Returns the place of the field with this number. The search begins at `likely`.
    pub(super) fn place_of(&self, number: u32, likely: usize) -> Option<usize> {
        let is_it = |field: &Field| field.number() == number;
        let behind = self.fields.get(likely..).unwrap_or_default();
        match behind.iter().position(is_it) {
            Some(place) => Some(likely + place),
            None => self.fields.iter().position(is_it),
        }
    }
}
