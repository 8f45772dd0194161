//! Walks through a request in which something is wrong. The error costs the item that it is in, or
//! a few replacement characters. The other items are left byte for byte as they came.
//!
//! A valid request never comes here. All of the work is bounded by the length of the request: it is
//! read five times at most, written once, and grows by 64 KiB or a sixteenth at most, whichever is
//! more.

use alloc::vec::Vec;

use super::{InvalidUtf8, ValidItems};
use crate::check::findings::Findings;
use crate::check::invalid::Invalid;
use crate::check::limits::Limits;
use crate::check::location::Location;
use crate::check::schema::{self, Counts, Kind, Shape};
use crate::check::text::{is_text, write_replaced};
use crate::check::validate::{Validator, WrongIds};
use crate::read::field::{SkippedField, field_key, skip_field};
use crate::read::signal::{Signal, points};
use crate::write::Output;
use crate::write::nested;

/// The bytes that replaced texts may add to a small request.
const GROWTH: usize = 64 * 1024;
/// The share of a larger request that they may add. A text that was cut grows by two bytes. Bytes
/// that are not text at all would grow to three times their size, so their items are refused.
const GROWTH_SHARE: usize = 16;

/// Removes the items in which something is wrong from a request, or mends them.
///
/// # Errors
/// Fails if the request is over a limit as a whole, or malformed in a place behind which items
/// cannot be told apart.
#[cold]
pub(super) fn repair(
    signal: Signal,
    request: &[u8],
    limits: &Limits,
    invalid_utf8: InvalidUtf8,
) -> Result<ValidItems, Invalid> {
    let growth = GROWTH.max(request.len() / GROWTH_SHARE);
    let mut repairer = Repairer {
        validator: Validator::new(request, limits, WrongIds::Refused),
        limits,
        replaces: invalid_utf8 == InvalidUtf8::Replace,
        growth,
        out: Vec::with_capacity(request.len() + growth),
        items: 0,
        location: Location::default(),
        refused: Findings::default(),
        replaced: Findings::default(),
    };
    repairer.container(schema::request(signal), request)?;
    let nothing_left = repairer.items == 0 && repairer.refused.count > 0;
    Ok(ValidItems {
        items: repairer.items,
        output: match nothing_left {
            true => Output::Nothing,
            false => Output::Request(repairer.out),
        },
        refused: repairer.refused,
        replaced: repairer.replaced,
    })
}

struct Repairer<'a> {
    validator: Validator<'a>,
    limits: &'a Limits,
    replaces: bool,
    /// The bytes that replaced texts may still add.
    growth: usize,
    out: Vec<u8>,
    /// The number of items in `out`.
    items: usize,
    location: Location<'a>,
    refused: Findings,
    replaced: Findings,
}

/// The state of a container's own fields, which are those other than its members.
enum OwnFields {
    Valid,
    /// The fields other than the members, with their texts replaced.
    Replaced(Vec<u8>),
    Wrong(Invalid),
    /// The fields cannot be told apart from this offset on.
    Broken(usize),
}

impl<'a> Repairer<'a> {
    /// Writes the content of a message whose members are judged one by one. Returns true if it is
    /// to be kept.
    fn container(&mut self, shape: &'static Shape, body: &'a [u8]) -> Result<bool, Invalid> {
        let (items, refused) = (self.items, self.refused.count);
        let is_as_it_came = match self.own(shape, body)? {
            OwnFields::Valid => {
                self.validator.add(shape)?;
                true
            }
            OwnFields::Replaced(own) => {
                self.out.extend_from_slice(&own);
                false
            }
            // The error is in the request itself.
            OwnFields::Wrong(why) if shape.counts == Counts::Nothing => return Err(why),
            OwnFields::Wrong(why) => {
                self.refuse(members(shape, body), shape, body, &why);
                return Ok(false);
            }
            OwnFields::Broken(offset) => {
                let what = shape.what;
                if !matches!(shape.counts, Counts::Points | Counts::Data) {
                    let place = self.location.cut(shape, body);
                    return Err(Invalid::Unreadable {
                        place,
                        what,
                        offset,
                    });
                }
                let why = Invalid::Malformed { what, offset };
                self.refuse(members(shape, body), shape, body, &why);
                return Ok(false);
            }
        };
        let mut rest = body;
        while let Some((raw, skipped)) = split(rest) {
            let (key, content) = (skipped.key, skipped.content);
            rest = skipped.rest;
            match member(shape, key) {
                Some(inner) => {
                    self.location.enter(inner, content);
                    self.member(inner, key >> 3, raw, content)?;
                }
                None if is_as_it_came => self.out.extend_from_slice(raw),
                None => {}
            }
        }
        let has_lost_all = self.items == items && self.refused.count > refused;
        Ok(!has_lost_all)
    }

    fn member(
        &mut self,
        shape: &'static Shape,
        number: u32,
        raw: &[u8],
        body: &'a [u8],
    ) -> Result<(), Invalid> {
        let is_item = match shape.counts {
            Counts::Item | Counts::Point => true,
            Counts::Points => has_mixed_data(body),
            _ => false,
        };
        if is_item {
            return self.item(shape, number, raw, body);
        }
        let open = nested::begin(&mut self.out, number, body.len());
        if self.container(shape, body)? {
            nested::end(&mut self.out, open);
        } else {
            nested::cancel(&mut self.out, open);
        }
        Ok(())
    }

    /// Checks the fields of a container other than its members, so that the members can be written
    /// after it.
    fn own(&mut self, shape: &'static Shape, body: &[u8]) -> Result<OwnFields, Invalid> {
        let before = self.validator.summary;
        let mut wrong: Option<Invalid> = None;
        let mut rest = body;
        while !rest.is_empty() {
            let (Some((_, skipped)), Some((_, content))) = (split(rest), field_key(rest)) else {
                return Ok(OwnFields::Broken(self.validator.offset(rest)));
            };
            rest = skipped.rest;
            if member(shape, skipped.key).is_some() {
                continue;
            }
            match self.validator.one_field(shape, skipped.key, content) {
                Ok(_) => {}
                Err(why @ Invalid::OverLimit { .. }) => return Err(why),
                // An error that cannot be mended takes precedence.
                Err(Invalid::NotUtf8 { .. }) if wrong.is_some() => {}
                Err(why) => wrong = Some(why),
            }
        }
        let Some(why) = wrong else {
            return Ok(OwnFields::Valid);
        };
        let (mut own, len) = (Vec::new(), own_len(shape, body));
        let most = len + self.growth;
        let texts = match &why {
            Invalid::NotUtf8 { .. } if self.replaces => {
                replace(shape, body, self.validator.depth(), false, &mut own, most)
            }
            _ => None,
        };
        let Some(texts) = texts else {
            return Ok(OwnFields::Wrong(why));
        };
        self.validator.summary = before;
        match self.validator.part(shape, &own) {
            Ok(()) => {}
            Err(why @ Invalid::OverLimit { .. }) => return Err(why),
            Err(why) => return Ok(OwnFields::Wrong(why)),
        }
        self.growth = self.growth.saturating_sub(own.len().saturating_sub(len));
        let (location, limits) = (&self.location, self.limits);
        self.replaced
            .note(texts, || location.words(shape, body, limits));
        Ok(OwnFields::Replaced(own))
    }

    /// Writes an item as it came, or mended, or not at all.
    fn item(
        &mut self,
        shape: &'static Shape,
        number: u32,
        raw: &[u8],
        body: &[u8],
    ) -> Result<(), Invalid> {
        let items = members(shape, body);
        let before = self.validator.summary;
        let why = match self.validator.part(shape, body) {
            Ok(()) => {
                self.out.extend_from_slice(raw);
                return self.keep(items);
            }
            Err(why @ Invalid::OverLimit { .. }) => return Err(why),
            Err(why) => why,
        };
        self.validator.summary = before;
        if !self.replaces || !matches!(why, Invalid::NotUtf8 { .. }) {
            self.refuse(items, shape, body, &why);
            return Ok(());
        }
        let start = self.out.len();
        let most = start + raw.len() + self.growth;
        let open = nested::begin(&mut self.out, number, body.len());
        let depth = self.validator.depth();
        let Some(texts) = replace(shape, body, depth, true, &mut self.out, most) else {
            nested::cancel(&mut self.out, open);
            self.refuse(items, shape, body, &why);
            return Ok(());
        };
        let mended = self.out.get(open.content()..).unwrap_or_default();
        match self.validator.part(shape, mended) {
            Ok(()) => {}
            Err(why @ Invalid::OverLimit { .. }) => return Err(why),
            // The text was not the only error. The other one is looked for in the mended bytes.
            Err(why) => {
                self.validator.summary = before;
                let (location, limits) = (&self.location, self.limits);
                self.refused
                    .refuse(items, &why, || location.words(shape, mended, limits));
                nested::cancel(&mut self.out, open);
                return Ok(());
            }
        }
        nested::end(&mut self.out, open);
        let grown = self.out.len().saturating_sub(start + raw.len());
        self.growth = self.growth.saturating_sub(grown);
        let (location, limits) = (&self.location, self.limits);
        self.replaced
            .note(texts, || location.words(shape, body, limits));
        self.keep(items)
    }

    fn keep(&mut self, items: usize) -> Result<(), Invalid> {
        self.items += items;
        let limit = self.limits.items;
        if self.items > limit {
            let what = "items";
            return Err(Invalid::OverLimit { what, limit });
        }
        Ok(())
    }

    fn refuse(&mut self, items: usize, shape: &'static Shape, body: &[u8], why: &Invalid) {
        let (location, limits) = (&self.location, self.limits);
        self.refused
            .refuse(items, why, || location.words(shape, body, limits));
    }
}

/// Splits the first field off a message. Returns all of it, and its pieces.
fn split(message: &[u8]) -> Option<(&[u8], SkippedField<'_>)> {
    let skipped = skip_field(message)?;
    let raw = message.get(..message.len() - skipped.rest.len())?;
    Some((raw, skipped))
}

/// Returns the shape of the member in a field with this key, if it is one.
fn member(shape: &Shape, key: u32) -> Option<&'static Shape> {
    match key & 7 {
        2 => shape.member(key >> 3),
        _ => None,
    }
}

/// Returns the number of items in a message, as far as it can be read.
fn members(shape: &Shape, body: &[u8]) -> usize {
    match shape.counts {
        Counts::Item | Counts::Point => return 1,
        Counts::Points => return points(body),
        _ => {}
    }
    let mut items = 0;
    let mut rest = body;
    while let Some(skipped) = skip_field(rest) {
        rest = skipped.rest;
        items += member(shape, skipped.key).map_or(0, |inner| members(inner, skipped.content));
    }
    items
}

/// Returns the length of a container's fields other than its members.
fn own_len(shape: &Shape, body: &[u8]) -> usize {
    let mut len = 0;
    let mut rest = body;
    while let Some((raw, skipped)) = split(rest) {
        rest = skipped.rest;
        len += if member(shape, skipped.key).is_some() {
            0
        } else {
            raw.len()
        };
    }
    len
}

/// Returns true if a metric has data of two kinds, of which decoders take the later one. No encoder
/// writes this, so the metric is judged as a whole.
fn has_mixed_data(metric: &[u8]) -> bool {
    let mut kind = None;
    let mut rest = metric;
    while let Some(SkippedField {
        key, rest: after, ..
    }) = skip_field(rest)
    {
        rest = after;
        if member(&schema::metrics::METRIC, key).is_some() && *kind.get_or_insert(key) != key {
            return true;
        }
    }
    false
}

/// Copies a message, with or without its members, and replaces texts that are not UTF-8. Returns
/// the number of replaced texts. Returns `None` if the message is malformed, nested too deep, or
/// becomes too long.
fn replace(
    shape: &Shape,
    body: &[u8],
    depth: u32,
    with_members: bool,
    out: &mut Vec<u8>,
    most: usize,
) -> Option<usize> {
    let depth = match shape.counts {
        Counts::Level => depth.checked_sub(1)?,
        _ => depth,
    };
    let mut texts = 0;
    let mut rest = body;
    while !rest.is_empty() {
        let (raw, skipped) = split(rest)?;
        let (key, content) = (skipped.key, skipped.content);
        rest = skipped.rest;
        let number = key >> 3;
        if !with_members && member(shape, key).is_some() {
            continue;
        }
        let kind = usize::try_from(number)
            .ok()
            .and_then(|number| shape.fields.get(number));
        let is_bad_text = matches!(kind, Some(Kind::Text | Kind::TextList)) && !is_text(content);
        if key & 7 != 2 || (shape.inner(number).is_none() && !is_bad_text) {
            out.extend_from_slice(raw);
        } else {
            let open = nested::begin(out, number, content.len());
            if let Some(inner) = shape.inner(number) {
                texts += replace(inner, content, depth, with_members, out, most)?;
            } else {
                write_replaced(out, content, most)?;
                texts += 1;
            }
            nested::end(out, open);
        }
        if out.len() > most {
            return None;
        }
    }
    Some(texts)
}
