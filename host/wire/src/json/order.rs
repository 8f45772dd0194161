//! The order of a message's fields. JSON has a key once, but protobuf may have a field in several
//! places.

use alloc::vec::Vec;

use crate::json::shape::{Field, Kind, Presence, Shape};
use crate::read::field::{self, Fields};
use crate::write::fields::write_bytes;

/// Returns true if every field stands once, at most one of a choice is there, and the members of
/// each list stand together.
pub(super) fn is_good(shape: &Shape, message: &[u8]) -> bool {
    let mut seen = 0_u32;
    let mut last = usize::MAX;
    let mut has_choice = false;
    for read in Fields::new(message) {
        let Some(place) = shape.place_of(read.number, last) else {
            continue;
        };
        let presence = shape.fields.get(place).map(|field| field.presence);
        let is_same_list = place == last && presence == Some(Presence::List);
        let is_choice = presence == Some(Presence::Choice);
        if (seen & 1 << place != 0 && !is_same_list) || (is_choice && has_choice) {
            return false;
        }
        seen |= 1 << place;
        has_choice |= is_choice;
        last = place;
    }
    true
}

/// Writes the known fields of a message in good order, with the same meaning.
pub(super) fn in_order(shape: &'static Shape, message: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(message.len());
    for field in shape.fields {
        let fields = Fields::new(message).filter(|read| read.number == field.number());
        match (field.presence, field.kind) {
            (Presence::List, _) => {
                for read in fields {
                    out.extend_from_slice(read.raw());
                }
            }
            (Presence::Choice, _) => choice(&mut out, shape, field, message),
            (_, Kind::Message(_)) => merged(&mut out, field, fields),
            _ => {
                if let Some(last) = fields.last() {
                    out.extend_from_slice(last.raw());
                }
            }
        }
    }
    out
}

/// Writes a field of a choice if it is the one that counts: the last. Pieces of a message count as
/// far as no other field of the choice stands behind them.
fn choice(out: &mut Vec<u8>, shape: &'static Shape, field: &Field, message: &[u8]) {
    let is_choice = |number| {
        let place = shape.place_of(number, 0);
        let known = place.and_then(|place| shape.fields.get(place));
        known.is_some_and(|known| known.presence == Presence::Choice)
    };
    let mut from = message;
    let mut rest = message;
    let mut last = None;
    for read in Fields::new(message) {
        rest = rest.get(read.len()..).unwrap_or_default();
        if read.number == field.number() {
            last = Some(read);
        } else if is_choice(read.number) {
            last = None;
            from = rest;
        }
    }
    let Some(last) = last else {
        return;
    };
    if let Kind::Message(_) = field.kind {
        let pieces = Fields::new(from).filter(|read| read.number == field.number());
        merged(out, field, pieces);
    } else {
        out.extend_from_slice(last.raw());
    }
}

/// Writes the pieces of a message as one.
fn merged<'a>(
    out: &mut Vec<u8>,
    field: &Field,
    pieces: impl Iterator<Item = field::Field<'a>> + Clone,
) {
    if pieces.clone().next().is_some() {
        let whole: Vec<u8> = pieces.flat_map(|piece| piece.bytes()).copied().collect();
        write_bytes(out, field.number(), &whole);
    }
}
