//! Writes the protobuf bytes of a JSON text while reading it.

use alloc::format;
use alloc::vec::Vec;

use crate::check::findings::Findings;
use crate::check::text::write_replaced;
use crate::check::valid_items::InvalidUtf8;
use crate::json::draft::Draft;
use crate::json::error::{Expected, JsonError};
use crate::json::reader::{ESCAPE, Reader, Stop, Token};
use crate::json::shape::{Field, KEY_VALUE, Kind, Presence, Shape, Usual};
use crate::json::{attribute, base64, hex, place, scalar, text};
use crate::write::fields::write_varint;

const UTF8: &str = "UTF-8";

/// One text on its way.
pub(super) struct Transcoder<'a> {
    text: &'a [u8],
    reader: Reader<'a>,
    draft: Draft,
    invalid_utf8: InvalidUtf8,
    replaced: Findings,
    /// The number of levels of values that may be nested.
    depth: u32,
}

impl<'a> Transcoder<'a> {
    /// Makes a transcoder whose output begins with `out`.
    pub(super) fn new(text: &'a [u8], depth: u32, invalid_utf8: InvalidUtf8, out: Vec<u8>) -> Self {
        Self {
            text,
            reader: Reader::new(text),
            draft: Draft::new(out),
            invalid_utf8,
            replaced: Findings::default(),
            depth,
        }
    }

    /// Reads the whole text. Returns the output as far as it was written, and the texts that were
    /// replaced.
    pub(super) fn run(mut self, shape: &'static Shape) -> (Vec<u8>, Result<Findings, JsonError>) {
        match self.document(shape) {
            Ok(()) => (self.draft.finish(), Ok(self.replaced)),
            Err(Stop) => {
                let (at, expected) = self.reader.problem();
                let path = place::path(self.text, at);
                (self.draft.out, Err(JsonError::new(path, at, expected)))
            }
        }
    }

    fn document(&mut self, shape: &'static Shape) -> Result<(), Stop> {
        if !self.reader.null() {
            self.message(shape, self.depth)?;
        }
        match self.reader.peek() {
            None => Ok(()),
            Some(_) => Err(self.reader.fail_here("the end of the text")),
        }
    }

    /// Reads an object. `depth` is the number of levels of values that may still follow.
    fn message(&mut self, shape: &'static Shape, depth: u32) -> Result<(), Stop> {
        let mut depth = depth;
        self.reader.peek();
        if shape.is_level {
            let Some(left) = depth.checked_sub(1) else {
                let limit = Expected::Levels(self.depth);
                return Err(self.reader.fail(self.reader.at(), limit));
            };
            depth = left;
        }
        self.reader.expect(b'{', "an object")?;
        if self.reader.take(b'}') {
            return Ok(());
        }
        // The fields that were there, by their places.
        let mut seen = 0_u32;
        let mut likely = 0;
        loop {
            if self.reader.rest().first() != Some(&b'"') {
                self.reader.peek();
            }
            let place = match shape.next_place(self.reader.rest(), likely) {
                Some((place, len)) => {
                    self.reader.advance(len);
                    Some(place)
                }
                None => self.other_key(shape)?,
            };
            if let Some(place) = place
                && let Some(field) = shape.fields.get(place)
            {
                likely = place + 1;
                let bit = 1 << place;
                self.field(field, seen & bit != 0, depth)?;
                seen |= bit;
            } else {
                self.reader.skip()?;
            }
            if !self.reader.has_more(b'}')? {
                return Ok(());
            }
        }
    }

    /// Reads a key in any form.
    #[inline(never)]
    fn other_key(&mut self, shape: &'static Shape) -> Result<Option<usize>, Stop> {
        let key = self.reader.key()?;
        let name = self.reader.content(key)?;
        Ok(shape.place(&name))
    }

    /// Reads a field. A default value is not written, unless the field stood there before with
    /// another: the last one counts.
    #[inline(always)]
    fn field(&mut self, field: &'static Field, is_again: bool, depth: u32) -> Result<(), Stop> {
        if self.reader.null() {
            return Ok(());
        }
        let always = is_again || field.presence != Presence::Implicit;
        match (field.presence, field.kind) {
            (Presence::List, _) => self.list(field, depth),
            (_, Kind::Message(shape)) => self.nested(field.key, shape, depth),
            (_, Kind::Attribute) => self.nested(field.key, &KEY_VALUE, depth),
            (_, Kind::Text) => {
                let token = self.reader.token("a text in quotes")?;
                if always || !token.raw.is_empty() {
                    self.write_text(field.key, token)?;
                }
                Ok(())
            }
            (_, Kind::TraceId) => {
                self.id::<16>(field.key, always, "32 hexadecimal digits in quotes")
            }
            (_, Kind::SpanId) => self.id::<8>(field.key, always, "16 hexadecimal digits in quotes"),
            (_, Kind::Bytes) => self.bytes(field.key, always),
            (_, Kind::Fixed64 | Kind::Sfixed64 | Kind::Double) => {
                let bits = scalar::fixed64(&mut self.reader, field.kind)?;
                if always || bits != 0 {
                    self.draft.fixed64(field.key, bits);
                }
                Ok(())
            }
            (_, Kind::Fixed32) => {
                let bits = scalar::uint32(&mut self.reader)?;
                if always || bits != 0 {
                    self.draft.key(field.key);
                    self.draft.out.extend_from_slice(&bits.to_le_bytes());
                }
                Ok(())
            }
            (_, kind) => {
                let value = scalar::varint(&mut self.reader, kind)?;
                if always || value != 0 {
                    self.draft.key(field.key);
                    write_varint(&mut self.draft.out, value);
                }
                Ok(())
            }
        }
    }

    /// Reads an object. It may be null as a member of a list: it is empty then, as in the Collector.
    #[inline(always)]
    fn nested(&mut self, key: u32, shape: &'static Shape, depth: u32) -> Result<(), Stop> {
        if shape.is_level
            && depth > 0
            && let Some(len) = attribute::write_value(&mut self.draft, key, self.reader.rest())
        {
            self.reader.advance(len);
            return Ok(());
        }
        let guess = match shape.usual {
            Usual::Short => 0,
            Usual::Middle => 0x80,
            // The bytes are about half of the text.
            Usual::Most => self.reader.rest().len() / 2,
        };
        let open = self.draft.open(key, guess);
        if !self.reader.null() {
            self.message(shape, depth)?;
        }
        self.draft.close(open);
        Ok(())
    }

    fn list(&mut self, field: &'static Field, depth: u32) -> Result<(), Stop> {
        self.reader.expect(b'[', "a list")?;
        if self.reader.take(b']') {
            return Ok(());
        }
        match field.kind {
            Kind::Message(shape) => loop {
                self.nested(field.key, shape, depth)?;
                if !self.reader.has_more(b']')? {
                    return Ok(());
                }
            },
            Kind::Attribute => self.attributes(field.key, depth),
            Kind::Text => loop {
                if self.reader.null() {
                    self.draft.key(field.key);
                    self.draft.out.push(0);
                } else {
                    let token = self.reader.token("a text in quotes")?;
                    self.write_text(field.key, token)?;
                }
                if !self.reader.has_more(b']')? {
                    return Ok(());
                }
            },
            kind => {
                let open = self.draft.open(field.key, 0);
                loop {
                    if let Kind::Fixed64 | Kind::Double = kind {
                        let bits = scalar::fixed64(&mut self.reader, kind)?;
                        self.draft.out.extend_from_slice(&bits.to_le_bytes());
                    } else {
                        let value = scalar::varint(&mut self.reader, kind)?;
                        write_varint(&mut self.draft.out, value);
                    }
                    if !self.reader.has_more(b']')? {
                        break;
                    }
                }
                self.draft.close(open);
                Ok(())
            }
        }
    }

    fn attributes(&mut self, key: u32, depth: u32) -> Result<(), Stop> {
        let short_key = u8::try_from(key)
            .ok()
            .filter(|key| *key < 0x80 && depth > 0);
        loop {
            self.reader.peek();
            let plain = short_key.map_or(0, |key| {
                let rest = self.reader.rest();
                attribute::write_plain(&mut self.draft.out, key, rest)
            });
            self.reader.advance(plain);
            if plain == 0 {
                self.nested(key, &KEY_VALUE, depth)?;
            }
            if !self.reader.has_more(b']')? {
                return Ok(());
            }
        }
    }

    // === Texts ===

    #[inline(always)]
    fn write_text(&mut self, key: u32, token: Token<'a>) -> Result<(), Stop> {
        let is_utf8 = token.is_ascii || core::str::from_utf8(token.raw).is_ok();
        if !(token.is_plain && is_utf8) {
            return self.write_other_text(key, token, is_utf8);
        }
        self.draft.key(key);
        write_varint(&mut self.draft.out, token.raw.len() as u64);
        self.draft.out.extend_from_slice(token.raw);
        Ok(())
    }

    /// Writes a text with escapes, or one that is not UTF-8.
    #[inline(never)]
    fn write_other_text(&mut self, key: u32, token: Token<'a>, is_utf8: bool) -> Result<(), Stop> {
        let mut mended = Vec::new();
        let mut raw = token.raw;
        if !is_utf8 {
            self.note_replaced(token.at)?;
            write_replaced(&mut mended, raw, usize::MAX);
            raw = &mended;
        }
        let open = self.draft.open(key, raw.len());
        match text::unescape(raw, &mut self.draft.out) {
            Ok(0) => {}
            Ok(_) => self.note_replaced(token.at)?,
            Err(at) => return Err(self.reader.fail(token.at + at, ESCAPE)),
        }
        self.draft.close(open);
        Ok(())
    }

    /// Notes that a text has U+FFFD in place of what is not Unicode, unless that is an error.
    #[cold]
    fn note_replaced(&mut self, at: usize) -> Result<(), Stop> {
        if self.invalid_utf8 == InvalidUtf8::Reject {
            return Err(self.reader.fail(at, Expected::This(UTF8)));
        }
        let text = self.text;
        self.replaced.note(1, || {
            format!("{}: text that is not UTF-8", place::path(text, at))
        });
        Ok(())
    }

    fn id<const BYTES: usize>(
        &mut self,
        key: u32,
        always: bool,
        expected: &'static str,
    ) -> Result<(), Stop> {
        if let Some(id) = hex::quoted_id::<BYTES>(self.reader.rest()) {
            self.reader.advance(2 * BYTES + 2);
            self.draft.id(key, &id);
            return Ok(());
        }
        let token = self.reader.token(expected)?;
        let digits = self.reader.content(token)?;
        if digits.is_empty() {
            if always {
                self.draft.key(key);
                self.draft.out.push(0);
            }
            return Ok(());
        }
        let Some(id) = hex::id::<BYTES>(&digits) else {
            return Err(self.reader.fail(token.at - 1, Expected::This(expected)));
        };
        self.draft.id(key, &id);
        Ok(())
    }

    fn bytes(&mut self, key: u32, always: bool) -> Result<(), Stop> {
        const EXPECTED: &str = "base64 in quotes";
        let token = self.reader.token(EXPECTED)?;
        let digits = self.reader.content(token)?;
        if digits.is_empty() && !always {
            return Ok(());
        }
        let open = self.draft.open(key, digits.len() / 4 * 3);
        if base64::read(&digits, &mut self.draft.out).is_none() {
            return Err(self.reader.fail(token.at - 1, Expected::This(EXPECTED)));
        }
        self.draft.close(open);
        Ok(())
    }
}
