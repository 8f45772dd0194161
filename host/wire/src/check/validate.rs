//! The one complete check of a request's bytes.
//!
//! Everything behind ingress relies on it: views, splits and splices read bytes that passed here
//! without checking them again.

use crate::check::ids::Ids;
use crate::check::invalid::Invalid;
use crate::check::limits::Limits;
use crate::check::schema::{self, Counts, Kind, Shape};
use crate::check::text::{is_ascii, is_text};
use crate::read::attributes::{RawAttribute, plain};
use crate::read::field::{field_key, skip_unknown, varint};
use crate::read::signal::Signal;
use crate::read::signal::points;

/// The numbers of a valid request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// The number of resource entries.
    pub resources: usize,
    /// The number of scope entries of all resources.
    pub scopes: usize,
    /// The number of spans, data points or log records.
    pub items: usize,
    /// The number of these that are spans whose ids OTLP calls invalid.
    /// [`remove_invalid_items`](crate::remove_invalid_items) removes them.
    pub invalid_spans: usize,
    /// The bytes that the request would take as decoded objects: an estimate that is never far too
    /// low.
    pub decoded_bytes: usize,
}

/// Checks a request completely: structure, wire types, varints, UTF-8, the lengths of ids, limits.
///
/// It accepts what prost accepts, except for ids of a wrong length (OTLP forbids them and most
/// backends refuse them) and what is over a limit. It allocates nothing and stops at the first
/// error.
pub fn validate(signal: Signal, request: &[u8], limits: &Limits) -> Result<Summary, Invalid> {
    check(schema::request(signal), request, limits, WrongIds::Refused)
}

/// The treatment of ids in spans that have a wrong length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WrongIds {
    /// The whole message is refused.
    Refused,
    /// Their spans are counted as invalid.
    Counted,
}

/// Checks one message completely.
pub(crate) fn check(
    shape: &'static Shape,
    message: &[u8],
    limits: &Limits,
    wrong_ids: WrongIds,
) -> Result<Summary, Invalid> {
    let mut validator = Validator::new(message, limits, wrong_ids);
    let checked = validator
        .message(shape, message, validator.depth())
        .and_then(|()| validator.check_decoded());
    match (checked, validator.invalid) {
        (Ok(()), None) => Ok(validator.summary),
        (_, Some(invalid)) => Err(invalid),
        (Err(Stop), None) => Err(Invalid::Malformed {
            what: shape.what,
            offset: 0,
        }),
    }
}

/// Ends the check; the validator knows why. An error without content travels in a register, which
/// makes a difference in the many small steps of the check.
pub(crate) struct Stop;

pub(crate) struct Validator<'a> {
    /// The address of the request in memory, from which offsets are counted.
    start: usize,
    pub(crate) summary: Summary,
    /// The ids of the span that is being read.
    ids: Ids,
    wrong_ids: WrongIds,
    limits: &'a Limits,
    decoded_limit: usize,
    /// The reason why the check stopped.
    invalid: Option<Invalid>,
}

impl<'a> Validator<'a> {
    /// Makes a validator for a request, or for parts of it.
    pub(crate) fn new(request: &[u8], limits: &'a Limits, wrong_ids: WrongIds) -> Self {
        Self {
            start: request.as_ptr().addr(),
            summary: Summary::default(),
            ids: Ids::NONE,
            wrong_ids,
            limits,
            decoded_limit: limits.decoded(request.len()),
            invalid: None,
        }
    }

    /// Returns the number of levels of values that may be in a message.
    pub(crate) fn depth(&self) -> u32 {
        self.limits.depth.min(Limits::DEEPEST)
    }

    /// Checks a message; `depth` is the number of levels of values that may still follow.
    fn message(&mut self, shape: &'static Shape, body: &[u8], depth: u32) -> Result<(), Stop> {
        self.decoded(shape.size);
        let depth = self.count(shape, body, depth)?;
        let mut rest = body;
        while let [key, after @ ..] = rest {
            if let Some((attribute, after)) = plain(rest, shape.attribute)
                && depth > 0
                && is_plain(attribute)
            {
                self.decoded(schema::KEY_VALUE.size + attribute.key_value.len());
                rest = after;
                continue;
            }
            let (key, after) = if *key < 0x80 {
                (u32::from(*key), after)
            } else {
                field_key(rest).ok_or_else(|| self.malformed(shape, rest))?
            };
            rest = self.field(shape, key, after, depth)?;
        }
        Ok(())
    }

    /// Checks the field whose key stands before `after`, and returns what follows it.
    // With a call for each field, the check takes 15 % longer.
    #[inline(always)]
    fn field<'b>(
        &mut self,
        shape: &'static Shape,
        key: u32,
        after: &'b [u8],
        depth: u32,
    ) -> Result<&'b [u8], Stop> {
        let number = key >> 3;
        let kind = usize::try_from(number)
            .ok()
            .and_then(|number| shape.fields.get(number))
            .unwrap_or(&Kind::Unknown);
        let rest = match (kind, key & 7) {
            (Kind::Attribute, 2) => {
                let (body, rest) = self.delimited(shape, after)?;
                self.message(&schema::KEY_VALUE, body, depth)?;
                return Ok(rest);
            }
            (Kind::Message(inner), 2) => {
                let (body, rest) = self.delimited(shape, after)?;
                self.message(inner, body, depth)?;
                return Ok(rest);
            }
            (Kind::Span, 2) => {
                let (body, rest) = self.delimited(shape, after)?;
                self.ids = Ids::NONE;
                self.message(&schema::SPAN, body, depth)?;
                self.summary.invalid_spans += usize::from(!self.ids.are_valid());
                return Ok(rest);
            }
            (Kind::Text | Kind::TextList, 2) => {
                let (text, rest) = self.delimited(shape, after)?;
                if !is_text(text) {
                    return Err(self.not_utf8(shape, text));
                }
                // A string in a list is an object of its own.
                let object = if matches!(kind, Kind::TextList) {
                    24
                } else {
                    0
                };
                self.decoded(text.len() + object);
                return Ok(rest);
            }
            (Kind::Bytes, 2) => {
                let (bytes, rest) = self.delimited(shape, after)?;
                self.decoded(bytes.len());
                return Ok(rest);
            }
            (Kind::Id(len), 2) => {
                let (id, rest) = self.delimited(shape, after)?;
                if !id.is_empty() && id.len() != *len {
                    return Err(self.wrong_id(shape, id, *len));
                }
                self.decoded(id.len());
                return Ok(rest);
            }
            (Kind::IdInSpan { len, needed }, 2) => {
                let (id, rest) = self.delimited(shape, after)?;
                let is_wrong = !id.is_empty() && id.len() != *len;
                if is_wrong && self.wrong_ids == WrongIds::Refused {
                    return Err(self.wrong_id(shape, id, *len));
                }
                self.ids.read(id, *len, *needed);
                self.decoded(id.len());
                return Ok(rest);
            }
            (Kind::Fixed64List | Kind::VarintList, _) => self.list(kind, key & 7, after),
            (Kind::Varint, 0) => varint(after).map(|(_, rest)| rest),
            (Kind::Fixed64, 1) => after.get(8..),
            (Kind::Fixed32, 5) => after.get(4..),
            (Kind::Unknown, wire) => skip_unknown(number, wire, after, depth),
            // This is a known field of another wire type.
            _ => None,
        };
        rest.ok_or_else(|| self.malformed(shape, after))
    }

    /// Checks a list of numbers that is packed, or one number of a list that is not.
    fn list<'b>(&mut self, kind: &Kind, wire: u32, after: &'b [u8]) -> Option<&'b [u8]> {
        match (kind, wire) {
            (Kind::Fixed64List, 1) => {
                self.decoded(8);
                after.get(8..)
            }
            (Kind::VarintList, 0) => {
                self.decoded(8);
                varint(after).map(|(_, rest)| rest)
            }
            (_, 2) => {
                let (len, after) = varint(after)?;
                let (mut body, rest) = after.split_at_checked(usize::try_from(len).ok()?)?;
                if matches!(kind, Kind::Fixed64List) {
                    self.decoded(body.len());
                    return body.len().is_multiple_of(8).then_some(rest);
                }
                while !body.is_empty() {
                    self.decoded(8);
                    body = varint(body)?.1;
                }
                Some(rest)
            }
            _ => None,
        }
    }

    /// Returns the content of a field of variable length, and what follows.
    #[inline]
    fn delimited<'b>(
        &mut self,
        shape: &'static Shape,
        after: &'b [u8],
    ) -> Result<(&'b [u8], &'b [u8]), Stop> {
        if let Some((len, rest)) = varint(after)
            && let Ok(len) = usize::try_from(len)
            && let Some(parts) = rest.split_at_checked(len)
        {
            return Ok(parts);
        }
        Err(self.malformed(shape, after))
    }

    /// Counts a message, checks the counts against the limits, and returns the depth left inside.
    #[inline]
    fn count(&mut self, shape: &'static Shape, body: &[u8], depth: u32) -> Result<u32, Stop> {
        match shape.counts {
            Counts::Nothing | Counts::Data | Counts::Point => {}
            Counts::Resource => self.summary.resources += 1,
            Counts::Scope => self.summary.scopes += 1,
            Counts::Item => self.summary.items += 1,
            Counts::Points => self.summary.items += points(body),
            Counts::Level => {
                return depth.checked_sub(1).ok_or_else(|| self.too_deep());
            }
        }
        self.check_items()?;
        self.check_decoded()?;
        Ok(depth)
    }

    #[inline]
    fn check_items(&mut self) -> Result<(), Stop> {
        if self.summary.items > self.limits.items {
            return Err(self.over_limit("items", self.limits.items));
        }
        Ok(())
    }

    #[inline]
    fn decoded(&mut self, bytes: usize) {
        self.summary.decoded_bytes = self.summary.decoded_bytes.saturating_add(bytes);
    }

    #[inline]
    fn check_decoded(&mut self) -> Result<(), Stop> {
        if self.summary.decoded_bytes > self.decoded_limit {
            return Err(self.over_limit("bytes once decoded", self.decoded_limit));
        }
        Ok(())
    }

    // === Parts of a request, for code that takes it apart ===

    /// Checks one part of a request by itself, the ids of a span included. The counts are in
    /// [`Validator::summary`] afterwards, whatever the result.
    pub(crate) fn part(&mut self, shape: &'static Shape, body: &[u8]) -> Result<(), Invalid> {
        self.ids = Ids::NONE;
        let checked = self.message(shape, body, self.depth());
        match checked.and_then(|()| self.check_decoded()) {
            Ok(()) if core::ptr::eq(shape, &schema::SPAN) && !self.ids.are_valid() => {
                Err(Invalid::NoId)
            }
            Ok(()) => Ok(()),
            Err(Stop) => Err(self.why(shape)),
        }
    }

    /// Adds a message to the sums without looking into it.
    pub(crate) fn add(&mut self, shape: &'static Shape) -> Result<(), Invalid> {
        self.decoded(shape.size);
        self.check_decoded().map_err(|Stop| self.why(shape))
    }

    /// Checks one field of a message by itself, and returns what follows it.
    pub(crate) fn one_field<'b>(
        &mut self,
        shape: &'static Shape,
        key: u32,
        after: &'b [u8],
    ) -> Result<&'b [u8], Invalid> {
        let checked = self.field(shape, key, after, self.depth());
        checked.map_err(|Stop| self.why(shape))
    }

    /// Returns the reason why the check stopped.
    fn why(&mut self, shape: &'static Shape) -> Invalid {
        let (what, offset) = (shape.what, 0);
        let unknown = Invalid::Malformed { what, offset };
        self.invalid.take().unwrap_or(unknown)
    }

    /// Returns the distance of some bytes from the beginning of the request.
    pub(crate) fn offset(&self, at: &[u8]) -> usize {
        at.as_ptr().addr().saturating_sub(self.start)
    }

    #[cold]
    fn malformed(&mut self, shape: &'static Shape, at: &[u8]) -> Stop {
        let (what, offset) = (shape.what, self.offset(at));
        self.invalid = Some(Invalid::Malformed { what, offset });
        Stop
    }

    #[cold]
    fn not_utf8(&mut self, shape: &'static Shape, text: &[u8]) -> Stop {
        let (what, offset) = (shape.what, self.offset(text));
        self.invalid = Some(Invalid::NotUtf8 { what, offset });
        Stop
    }

    #[cold]
    fn wrong_id(&mut self, shape: &'static Shape, id: &[u8], expected: usize) -> Stop {
        self.invalid = Some(Invalid::WrongId {
            what: shape.what,
            len: id.len(),
            expected,
            offset: self.offset(id),
        });
        Stop
    }

    #[cold]
    fn too_deep(&mut self) -> Stop {
        let limit = self.depth() as usize;
        self.invalid = Some(Invalid::TooDeep { limit });
        Stop
    }

    #[cold]
    fn over_limit(&mut self, what: &'static str, limit: usize) -> Stop {
        self.invalid = Some(Invalid::OverLimit { what, limit });
        Stop
    }
}

/// Returns true if an attribute is certainly valid: its value is a short text or a number, and all
/// texts are ASCII. Attributes are most of the bytes of every request.
#[inline(always)]
fn is_plain(attribute: RawAttribute<'_>) -> bool {
    let RawAttribute { key, key_value } = attribute;
    let Some(value) = key_value.get(key.len() + 4..) else {
        // There is no value.
        return is_ascii(key);
    };
    match value {
        // Tags and lengths below 128 are ASCII too, so that one check does for all of it.
        [0x0a, len, text @ ..] => usize::from(*len) == text.len() && is_ascii(key_value),
        [0x10 | 0x18, number @ ..] => {
            varint(number).is_some_and(|(_, rest)| rest.is_empty()) && is_ascii(key)
        }
        [0x21, bits @ ..] => bits.len() == 8 && is_ascii(key),
        [] => is_ascii(key),
        _ => false,
    }
}
