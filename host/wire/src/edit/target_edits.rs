//! Sums up the edits of one target, and rewrites its message.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use crate::edit::edits::{Edit, Operation, snippet};
use crate::read::attributes::{key_of, plain};
use crate::read::field::{Field, Fields, Payload, skip_field};
use crate::write::fields::{write_bytes, write_key, write_varint_field};
use crate::write::nested;

/// The attribute field of a resource.
pub(crate) const RESOURCE_ATTRIBUTE: u32 = 1;
/// The attribute field of a scope.
pub(crate) const SCOPE_ATTRIBUTE: u32 = 3;
/// The attribute field of a span.
pub(crate) const SPAN_ATTRIBUTE: u32 = 9;

/// The most keys that are compared one by one. More keys are looked up in a tree, so that a reply
/// with very many edits of one span costs no more than it is long.
const MAX_LINEAR_KEYS: usize = 16;

/// The sum of the edits of one target. It is made to be used over and over: it keeps its memory.
#[derive(Debug, Default)]
pub(crate) struct TargetEdits<'a> {
    /// The span that replaces the one that came.
    base: Option<&'a [u8]>,
    name: Option<&'a [u8]>,
    kind: Option<u32>,
    status: Option<&'a [u8]>,
    keys: Vec<KeyEdit<'a>>,
    /// A bit for each length (modulo 64) that a key has: most attributes do not change, and their
    /// keys are mostly of another length.
    lengths: u64,
    /// The place in `keys` of each key, once there are more than a few.
    places: BTreeMap<&'a [u8], usize>,
    /// The fields of the attributes that are set, if nothing else is done. They are appended to all
    /// spans that have none of these attributes yet.
    appended: Vec<u8>,
    /// The edits that `appended` was made from.
    read: &'a [Edit],
}

/// The changes to the attributes with one key.
#[derive(Debug)]
struct KeyEdit<'a> {
    key: &'a [u8],
    /// True if the attributes that came are removed.
    deleted: bool,
    /// The `KeyValue` that is there in the end.
    value: Option<&'a [u8]>,
    /// The edit that made it, counted from the first of the target. It gives the place among those
    /// that are appended.
    since: usize,
    /// True if it was written in the place of one that came.
    written: bool,
}

/// The change to a field.
enum FieldEdit<'a> {
    Keep,
    Remove,
    Replace(&'a [u8]),
}

impl<'a> TargetEdits<'a> {
    /// Reads the edits of one span, in their order. They must have been checked. If they are the
    /// same as for the span before, as they mostly are, they are not read again. The blob must be
    /// the same for all.
    pub(crate) fn read_span(&mut self, edits: &'a [Edit], blob: &'a [u8]) {
        let same =
            |(new, old): (&Edit, &Edit)| (new[0], new[2], new[3]) == (old[0], old[2], old[3]);
        if self.read.len() == edits.len() && edits.iter().zip(self.read).all(same) {
            for key in &mut self.keys {
                key.written = false;
            }
            return;
        }
        self.read(edits, blob);
        let only_sets = self.base.is_none()
            && self.name.is_none()
            && self.kind.is_none()
            && self.status.is_none()
            && self.keys.iter().all(|entry| !entry.deleted);
        if only_sets {
            let mut appended = core::mem::take(&mut self.appended);
            self.append(&mut appended, SPAN_ATTRIBUTE);
            self.appended = appended;
            self.read = edits;
        }
    }

    /// Reads the edits of one target, in their order. They must have been checked.
    pub(crate) fn read(&mut self, edits: &[Edit], blob: &'a [u8]) {
        self.clear();
        for (number, edit) in edits.iter().enumerate() {
            let Some(operation) = Operation::from_number(edit[0]) else {
                continue;
            };
            let snippet = snippet(blob, edit);
            match operation {
                Operation::UpsertAttribute
                | Operation::UpsertResourceAttribute
                | Operation::UpsertScopeAttribute => self.upsert(snippet, number),
                Operation::DeleteAttribute
                | Operation::DeleteResourceAttribute
                | Operation::DeleteScopeAttribute => self.delete(snippet),
                Operation::SetName => self.name = Some(snippet),
                Operation::SetKind => self.kind = Some(edit[2]),
                Operation::SetStatus => self.status = Some(snippet),
                Operation::Replace => {
                    // Earlier changes are gone with the span that they were made on.
                    self.clear();
                    self.base = Some(snippet);
                }
            }
        }
    }

    /// Writes a span with the edits applied.
    pub(crate) fn write_span(&mut self, out: &mut Vec<u8>, span: &'a [u8]) {
        let base = self.base.unwrap_or(span);
        self.copy(out, base, SPAN_ATTRIBUTE);
        if let Some(name) = self.name {
            write_bytes(out, 5, name);
        }
        if let Some(kind) = self.kind {
            write_varint_field(out, 6, u64::from(kind));
        }
        if let Some(status) = self.status {
            write_bytes(out, 15, status);
        }
        self.append(out, SPAN_ATTRIBUTE);
    }

    /// Writes a resource or scope with the edits applied, from its pieces in field 1 of `parent`.
    /// Decoders would merge the pieces.
    pub(crate) fn write_pieces(&mut self, out: &mut Vec<u8>, parent: &[u8], attribute: u32) {
        for field in Fields::new(parent) {
            if let Some(piece) = field.message(1) {
                self.copy(out, piece, attribute);
            }
        }
        self.append(out, attribute);
    }

    fn clear(&mut self) {
        self.base = None;
        self.name = None;
        self.kind = None;
        self.status = None;
        self.keys.clear();
        self.lengths = 0;
        self.places.clear();
        self.appended.clear();
        self.read = &[];
    }

    /// Writes a span as a field of its scope, with the edits applied.
    pub(crate) fn write_span_field(&mut self, out: &mut Vec<u8>, span: &'a [u8]) {
        if !self.appended.is_empty() && !self.meets(span) {
            write_key(out, 2, span.len() + self.appended.len());
            out.extend_from_slice(span);
            out.extend_from_slice(&self.appended);
            return;
        }
        let open = nested::begin(out, 2, span.len());
        self.write_span(out, span);
        nested::end(out, open);
    }

    /// Returns true if a span has an attribute with one of the keys.
    fn meets(&self, span: &[u8]) -> bool {
        let known = |key: &[u8]| self.lengths & length_bit(key) != 0 && self.find(key).is_some();
        let mut rest = span;
        loop {
            if let Some((next, after)) = plain(rest, SPAN_ATTRIBUTE) {
                if known(next.key) {
                    return true;
                }
                rest = after;
                continue;
            }
            let Some(skipped) = skip_field(rest) else {
                return false;
            };
            if skipped.key == SPAN_ATTRIBUTE << 3 | 2 && known(key_of(skipped.content)) {
                return true;
            }
            rest = skipped.rest;
        }
    }

    fn upsert(&mut self, key_value: &'a [u8], number: usize) {
        let entry = self.entry(key_of(key_value));
        if entry.value.is_none() {
            entry.since = number;
        }
        entry.value = Some(key_value);
    }

    fn delete(&mut self, key: &'a [u8]) {
        let entry = self.entry(key);
        entry.deleted = true;
        entry.value = None;
    }

    fn entry(&mut self, key: &'a [u8]) -> &mut KeyEdit<'a> {
        let place = self.find(key).unwrap_or_else(|| self.add(key));
        #[expect(
            clippy::indexing_slicing,
            reason = "`find` and `add` return places in it"
        )]
        &mut self.keys[place]
    }

    fn add(&mut self, key: &'a [u8]) -> usize {
        let place = self.keys.len();
        self.lengths |= length_bit(key);
        self.keys.push(KeyEdit {
            key,
            deleted: false,
            value: None,
            since: 0,
            written: false,
        });
        if place == MAX_LINEAR_KEYS {
            let all = self.keys.iter().enumerate();
            self.places
                .extend(all.map(|(place, entry)| (entry.key, place)));
        } else if place > MAX_LINEAR_KEYS {
            self.places.insert(key, place);
        }
        place
    }

    #[inline]
    fn find(&self, key: &[u8]) -> Option<usize> {
        if self.keys.len() <= MAX_LINEAR_KEYS {
            self.keys.iter().position(|entry| entry.key == key)
        } else {
            self.places.get(key).copied()
        }
    }

    /// Copies a message except what the edits change, in runs as long as possible.
    fn copy(&mut self, out: &mut Vec<u8>, message: &[u8], attribute: u32) {
        let mut run = 0;
        let mut at = 0;
        for field in Fields::new(message) {
            let start = at;
            at += field.len();
            let change = self.change_of(&field, attribute);
            if matches!(change, FieldEdit::Keep) {
                continue;
            }
            out.extend_from_slice(message.get(run..start).unwrap_or_default());
            run = at;
            if let FieldEdit::Replace(key_value) = change {
                write_bytes(out, attribute, key_value);
            }
        }
        out.extend_from_slice(message.get(run..).unwrap_or_default());
    }

    #[inline]
    fn change_of(&mut self, field: &Field<'_>, attribute: u32) -> FieldEdit<'a> {
        let of_span = attribute == SPAN_ATTRIBUTE;
        let goes = match (field.number, field.payload) {
            (number, Payload::Len(key_value)) if number == attribute => {
                return self.attribute(key_of(key_value));
            }
            (5, _) => of_span && self.name.is_some(),
            (6, _) => of_span && self.kind.is_some(),
            (15, _) => of_span && self.status.is_some(),
            _ => false,
        };
        if goes {
            FieldEdit::Remove
        } else {
            FieldEdit::Keep
        }
    }

    #[inline]
    fn attribute(&mut self, key: &[u8]) -> FieldEdit<'a> {
        if self.lengths & length_bit(key) == 0 {
            return FieldEdit::Keep;
        }
        let Some(entry) = self.find(key).and_then(|place| self.keys.get_mut(place)) else {
            return FieldEdit::Keep;
        };
        match entry.value {
            Some(value) if !entry.deleted && !entry.written => {
                entry.written = true;
                FieldEdit::Replace(value)
            }
            _ => FieldEdit::Remove,
        }
    }

    /// Writes the attributes that were not there before, in the order in which they were set.
    fn append(&mut self, out: &mut Vec<u8>, attribute: u32) {
        if self.keys.iter().any(|entry| entry.deleted) {
            // Only an attribute that is deleted and set again is out of this order.
            self.keys.sort_by_key(|entry| entry.since);
        }
        let fresh = self.keys.iter().filter(|entry| !entry.written);
        for value in fresh.filter_map(|entry| entry.value) {
            write_bytes(out, attribute, value);
        }
    }
}

#[inline]
const fn length_bit(key: &[u8]) -> u64 {
    1 << (key.len() % 64)
}
