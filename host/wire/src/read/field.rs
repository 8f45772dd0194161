//! Protobuf's wire format: varints and fields.

use core::iter;

/// The deepest nesting of groups, as deep as any decoder goes.
const GROUP_DEPTH: u32 = 100;

/// The largest field key: 29 bits of number, 3 of wire type.
const MAX_KEY: u64 = u32::MAX as u64;

/// The payload of a field, by its wire type.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Payload<'a> {
    Varint(u64),
    Fixed64(u64),
    Fixed32(u32),
    Len(&'a [u8]),
    Group,
}

/// One field of a message.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Field<'a> {
    pub(crate) number: u32,
    pub(crate) payload: Payload<'a>,
    /// The message from the field's first byte on.
    from: &'a [u8],
    /// The number of these bytes that belong to the field.
    len: usize,
}

impl<'a> Field<'a> {
    /// Returns the content of a string, bytes or message field; empty for fields of other wire
    /// types.
    #[inline]
    pub(crate) fn bytes(&self) -> &'a [u8] {
        match self.payload {
            Payload::Len(bytes) => bytes,
            Payload::Varint(_) | Payload::Fixed64(_) | Payload::Fixed32(_) | Payload::Group => &[],
        }
    }

    /// Returns the content of a message field with this number.
    #[inline]
    pub(crate) fn message(&self, number: u32) -> Option<&'a [u8]> {
        match self.payload {
            Payload::Len(bytes) if self.number == number => Some(bytes),
            _ => None,
        }
    }

    /// Returns the number in a numeric field, as 64 bits; 0 for fields of other wire types.
    #[inline]
    pub(crate) fn number(&self) -> u64 {
        match self.payload {
            Payload::Varint(value) | Payload::Fixed64(value) => value,
            Payload::Fixed32(value) => u64::from(value),
            Payload::Len(_) | Payload::Group => 0,
        }
    }

    /// Returns the number of an `int32` or enum field.
    #[inline]
    #[expect(
        clippy::cast_possible_truncation,
        reason = "int32 is the low half of its varint"
    )]
    pub(crate) fn int32(&self) -> i32 {
        self.number() as u32 as i32
    }

    /// Returns the number of a `uint32` or `fixed32` field.
    #[inline]
    #[expect(
        clippy::cast_possible_truncation,
        reason = "uint32 is the low half of its varint"
    )]
    pub(crate) fn uint32(&self) -> u32 {
        self.number() as u32
    }

    /// Returns the content of a string field; empty if it is not UTF-8 (it is, in a valid request).
    #[inline]
    pub(crate) fn text(&self) -> &'a str {
        text(self.bytes())
    }

    /// Returns the field as it stands in the message, key included.
    #[inline]
    pub(crate) fn raw(&self) -> &'a [u8] {
        self.from.get(..self.len).unwrap_or_default()
    }

    /// Returns the bytes that the field takes, key included.
    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.len
    }
}

/// Returns the text in a string field; empty if it is not UTF-8 (it is, in a valid request).
#[inline]
pub(crate) fn text(bytes: &[u8]) -> &str {
    core::str::from_utf8(bytes).unwrap_or_default()
}

/// The fields of a message in the order in which they stand. The iterator ends at the first that is
/// malformed.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    #[inline]
    pub(crate) const fn new(message: &'a [u8]) -> Self {
        Self { rest: message }
    }

    /// Returns the bytes that are not read yet.
    #[inline]
    pub(crate) const fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// Returns the content of the next message field with this number.
    #[inline]
    pub(crate) fn message(&mut self, number: u32) -> Option<&'a [u8]> {
        loop {
            let Some(skipped) = skip_field(self.rest) else {
                self.rest = &[];
                return None;
            };
            self.rest = skipped.rest;
            if skipped.key == number << 3 | 2 {
                return Some(skipped.content);
            }
        }
    }

    #[inline]
    fn read(&self) -> Option<(Field<'a>, &'a [u8])> {
        if self.rest.is_empty() {
            return None;
        }
        let (key, after) = varint(self.rest)?;
        let number = u32::try_from(key).ok()? >> 3;
        if number == 0 {
            return None;
        }
        let (payload, after) = match key & 7 {
            0 => varint(after).map(|(value, after)| (Payload::Varint(value), after))?,
            1 => after
                .split_first_chunk::<8>()
                .map(|(value, after)| (Payload::Fixed64(u64::from_le_bytes(*value)), after))?,
            2 => delimited(after).map(|(bytes, after)| (Payload::Len(bytes), after))?,
            3 => (Payload::Group, skip_group(after, number, GROUP_DEPTH)?),
            5 => after
                .split_first_chunk::<4>()
                .map(|(value, after)| (Payload::Fixed32(u32::from_le_bytes(*value)), after))?,
            _ => return None,
        };
        let field = Field {
            number,
            payload,
            from: self.rest,
            len: self.rest.len() - after.len(),
        };
        Some((field, after))
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Field<'a>;

    #[inline]
    fn next(&mut self) -> Option<Field<'a>> {
        if let Some((field, after)) = self.read() {
            self.rest = after;
            Some(field)
        } else {
            self.rest = &[];
            None
        }
    }
}

/// Returns the contents of the message fields with this number.
pub(crate) fn messages(message: &[u8], number: u32) -> impl Iterator<Item = &[u8]> {
    let mut fields = Fields::new(message);
    iter::from_fn(move || fields.message(number))
}

/// A field that a walk passes over: only what it needs to go on to other fields.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SkippedField<'a> {
    /// The field's number, and its wire type in the low three bits.
    pub(crate) key: u32,
    /// The content if it is of variable length, otherwise empty.
    pub(crate) content: &'a [u8],
    /// The bytes that follow the field.
    pub(crate) rest: &'a [u8],
}

/// Skips the field that a message begins with. Returns `None` at the end, and if the field is
/// malformed. It reads the common kinds of fields itself: walks spend most of their time here.
#[inline(always)]
pub(crate) fn skip_field(message: &[u8]) -> Option<SkippedField<'_>> {
    let (key, after) = match message {
        [] => return None,
        [key @ 8..0x80, after @ ..] => (u32::from(*key), after),
        [low @ 0x80..=0xff, high @ 1..0x80, after @ ..] => {
            (u32::from(*low & 0x7f) | u32::from(*high) << 7, after)
        }
        _ => return skip_rare_field(message),
    };
    let rest = match (key & 7, after) {
        (2, [len @ ..0x80, after @ ..]) => {
            let (content, rest) = after.split_at_checked(usize::from(*len))?;
            return Some(SkippedField { key, content, rest });
        }
        (2, [low, high @ ..0x80, after @ ..]) => {
            let len = usize::from(*low & 0x7f) | usize::from(*high) << 7;
            let (content, rest) = after.split_at_checked(len)?;
            return Some(SkippedField { key, content, rest });
        }
        (0, [..0x80, rest @ ..]) => rest,
        (1, _) => after.get(8..)?,
        (5, _) => after.get(4..)?,
        _ => return skip_rare_field(message),
    };
    let content = &[];
    Some(SkippedField { key, content, rest })
}

/// Does the same for every kind of field. It is apart so that [`skip_field`] stays small enough to
/// be inlined.
#[cold]
#[inline(never)]
fn skip_rare_field(message: &[u8]) -> Option<SkippedField<'_>> {
    let (field, rest) = Fields::new(message).read()?;
    let wire = match field.payload {
        Payload::Varint(_) => 0,
        Payload::Fixed64(_) => 1,
        Payload::Len(_) => 2,
        Payload::Group => 3,
        Payload::Fixed32(_) => 5,
    };
    Some(SkippedField {
        key: field.number << 3 | wire,
        content: field.bytes(),
        rest,
    })
}

/// Splits content of variable length, which stands behind its length, from what follows it.
#[inline]
fn delimited(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (len, after) = varint(bytes)?;
    after.split_at_checked(usize::try_from(len).ok()?)
}

/// Reads a varint. Refuses those of more than 64 bits, as every decoder does.
#[inline]
pub(crate) fn varint(bytes: &[u8]) -> Option<(u64, &[u8])> {
    match bytes {
        [low, rest @ ..] if *low < 0x80 => Some((u64::from(*low), rest)),
        [low, high, rest @ ..] if *high < 0x80 => {
            Some((u64::from(*low & 0x7f) | u64::from(*high) << 7, rest))
        }
        _ => long_varint(bytes),
    }
}

#[inline(never)]
fn long_varint(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let mut value = 0;
    for (index, byte) in bytes.iter().enumerate().take(10) {
        value |= u64::from(byte & 0x7f) << (7 * index);
        if *byte < 0x80 {
            let fits = index < 9 || *byte < 2;
            return fits.then(|| Some((value, bytes.get(index + 1..)?)))?;
        }
    }
    None
}

/// Reads a field's key.
pub(crate) fn field_key(bytes: &[u8]) -> Option<(u32, &[u8])> {
    let (key, rest) = varint(bytes)?;
    Some((u32::try_from(key).ok()?, rest))
}

/// Returns what follows a field that this version does not know.
pub(crate) fn skip_unknown(number: u32, wire: u32, after: &[u8], depth: u32) -> Option<&[u8]> {
    if number == 0 {
        return None;
    }
    match wire {
        0 => varint(after).map(|(_, rest)| rest),
        1 => after.get(8..),
        2 => {
            let (len, rest) = varint(after)?;
            rest.get(usize::try_from(len).ok()?..)
        }
        3 => skip_group(after, number, depth),
        5 => after.get(4..),
        _ => None,
    }
}

/// Returns what follows the group `number`; `bytes` is the inside of the group and what follows it.
/// Returns `None` if the group does not end, or goes deeper than `depth`.
pub(crate) fn skip_group(bytes: &[u8], number: u32, depth: u32) -> Option<&[u8]> {
    let depth = depth.checked_sub(1)?;
    let mut rest = bytes;
    loop {
        let (key, after) = varint(rest)?;
        if !(8..=MAX_KEY).contains(&key) {
            return None;
        }
        let inner = u32::try_from(key >> 3).ok()?;
        rest = match key & 7 {
            0 => varint(after)?.1,
            1 => after.get(8..)?,
            2 => {
                let (len, after) = varint(after)?;
                after.get(usize::try_from(len).ok()?..)?
            }
            3 => skip_group(after, inner, depth)?,
            4 => return (inner == number).then_some(after),
            5 => after.get(4..)?,
            _ => return None,
        };
    }
}
