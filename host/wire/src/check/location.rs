//! Describes places in a request for people: `resource 2 (service "cart"), span 17 "GET /cart",
//! attribute "db.statement"`. Numbers count from one: spans and log records within their resource,
//! data points within their metric.

use alloc::string::String;
use core::fmt::Write as _;

use crate::check::limits::Limits;
use crate::check::schema::{self, Counts, Shape};
use crate::check::validate::{WrongIds, check};
use crate::read::attributes::key_of;
use crate::read::field::{Fields, field_key, messages, skip_field, varint};

/// The longest name that is quoted, in characters. Real names of services, spans and attributes
/// fit.
const LONGEST_NAME: usize = 60;

/// The place that a check of a request has reached.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Location<'a> {
    resource: usize,
    /// The resource entry.
    entry: &'a [u8],
    scope: usize,
    metric: usize,
    item: usize,
    /// The metric, or the span or log record.
    named: &'a [u8],
}

impl<'a> Location<'a> {
    /// Moves to the next member of this shape.
    pub(crate) fn enter(&mut self, shape: &Shape, body: &'a [u8]) {
        match shape.counts {
            Counts::Resource => {
                *self = Self {
                    resource: self.resource + 1,
                    entry: body,
                    ..Self::default()
                };
            }
            Counts::Scope => self.scope += 1,
            Counts::Points => {
                self.metric += 1;
                self.item = 0;
                self.named = body;
            }
            Counts::Item => {
                self.item += 1;
                self.named = body;
            }
            Counts::Point => self.item += 1,
            Counts::Nothing | Counts::Data | Counts::Level => {}
        }
    }

    /// Returns the place of the error inside `body`, a message of this shape that the walk is at.
    pub(crate) fn words(&self, shape: &'static Shape, body: &[u8], limits: &Limits) -> String {
        let mut words = self.outer(shape);
        blame(&mut words, shape, body, limits);
        words
    }

    /// Returns the place from which on `body`, a message of this shape that the walk is at, cannot
    /// be read.
    pub(crate) fn cut(mut self, shape: &'static Shape, body: &'a [u8]) -> String {
        let (mut at, mut inside) = (shape, String::new());
        let (mut shape, mut body) = (shape, body);
        loop {
            let mut rest = body;
            while let Some(skipped) = skip_field(rest) {
                rest = skipped.rest;
                if skipped.key & 7 == 2
                    && let Some(member) = shape.member(skipped.key >> 3)
                {
                    self.enter(member, skipped.content);
                }
            }
            // This field is longer than the message that it stands in. It is read as far as it
            // goes.
            let broken = field_key(rest).filter(|(key, _)| key & 7 == 2);
            let Some((key, after)) = broken else {
                break;
            };
            let inner = shape.inner(key >> 3).zip(varint(after));
            let Some((inner, (_, content))) = inner else {
                break;
            };
            if shape.member(key >> 3).is_some() {
                self.enter(inner, content);
                at = inner;
            } else if core::ptr::eq(inner, &schema::KEY_VALUE) {
                attribute(&mut inside, content);
                break;
            } else {
                part(&mut inside, inner);
            }
            (shape, body) = (inner, content);
        }
        let mut words = self.outer(at);
        words.push_str(&inside);
        words
    }

    /// Returns the place of a member of this shape, or of the request.
    fn outer(&self, shape: &Shape) -> String {
        let mut words = String::new();
        if shape.counts == Counts::Nothing && self.resource > 0 {
            words.push_str("after ");
        }
        if self.resource > 0 {
            number(&mut words, "resource", self.resource);
        }
        if let Some(service) = service(self.entry) {
            words.push_str(" (service ");
            quote(&mut words, service);
            words.push(')');
        }
        match shape.counts {
            Counts::Nothing | Counts::Resource | Counts::Level => {}
            Counts::Scope => number(&mut words, ", scope", self.scope),
            Counts::Points | Counts::Data | Counts::Point => {
                number(&mut words, ", metric", self.metric);
                name(&mut words, 1, self.named);
                if shape.counts == Counts::Point {
                    number(&mut words, ", data point", self.item);
                }
            }
            Counts::Item if core::ptr::eq(shape, &schema::LOG_RECORD) => {
                number(&mut words, ", log record", self.item);
            }
            Counts::Item => {
                number(&mut words, ", span", self.item);
                name(&mut words, 5, self.named);
            }
        }
        words
    }
}

/// Continues inside a message to the error in it, down to an attribute.
fn blame(words: &mut String, shape: &'static Shape, message: &[u8], limits: &Limits) {
    let limits = Limits {
        depth: limits.depth,
        ..Limits::NONE
    };
    let mut rest = message;
    while let Some(skipped) = skip_field(rest) {
        rest = skipped.rest;
        let number = skipped.key >> 3;
        let inner = shape.inner(number).filter(|_| skipped.key & 7 == 2);
        let is_member = shape.member(number).is_some();
        let Some(inner) = inner.filter(|_| !is_member) else {
            continue;
        };
        if check(inner, skipped.content, &limits, WrongIds::Refused).is_ok() {
            continue;
        }
        if core::ptr::eq(inner, &schema::KEY_VALUE) {
            attribute(words, skipped.content);
        } else if inner.counts == Counts::Level {
            words.push_str(", body");
        } else {
            part(words, inner);
            blame(words, inner, skipped.content, &limits);
        }
        return;
    }
}

fn attribute(words: &mut String, key_value: &[u8]) {
    let mut key = key_of(key_value);
    if let [0x0a, len, rest @ ..] = key_value
        && *len < 0x80
        && key.is_empty()
    {
        // The value cannot be read.
        key = rest.get(..usize::from(*len)).unwrap_or(rest);
    }
    words.push_str(", attribute ");
    quote(words, key);
}

/// Returns the name of the service in a resource entry.
fn service(entry: &[u8]) -> Option<&[u8]> {
    let mut attributes = messages(entry, 1).flat_map(|resource| messages(resource, 1));
    let attribute = attributes.find(|attribute| key_of(attribute) == b"service.name")?;
    let value = messages(attribute, 2).last()?;
    messages(value, 1).last()
}

/// Names a part of a message, unless it is one that is named already.
fn part(words: &mut String, shape: &Shape) {
    if !matches!(shape.what, "resource" | "scope") {
        words.push_str(", ");
        words.push_str(shape.what);
    }
}

fn number(words: &mut String, what: &str, number: usize) {
    // Writing to a string cannot fail.
    let _ok = write!(words, "{what} {number}");
}

/// Writes the name in this field of a span or a metric.
fn name(words: &mut String, number: u32, message: &[u8]) {
    let named = Fields::new(message).filter(|field| field.number == number);
    if let Some(field) = named.last()
        && !field.bytes().is_empty()
    {
        words.push(' ');
        quote(words, field.bytes());
    }
}

/// Writes the beginning of a text that may be anything, in quotation marks and in one line.
fn quote(words: &mut String, text: &[u8]) {
    words.push('"');
    let mut left = LONGEST_NAME;
    'text: for chunk in text.utf8_chunks() {
        let replacement = (!chunk.invalid().is_empty()).then_some(char::REPLACEMENT_CHARACTER);
        for char in chunk.valid().chars().chain(replacement) {
            if left == 0 {
                words.push('…');
                break 'text;
            }
            left -= 1;
            words.push(if char.is_control() { ' ' } else { char });
        }
    }
    words.push('"');
}
