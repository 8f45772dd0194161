//! Numbers, flags and enum values, as they go onto the wire.

use crate::json::error::Expected;
use crate::json::names::Names;
use crate::json::number::{self, Integer};
use crate::json::reader::{Reader, Stop};
use crate::json::shape::Kind;

/// Reads a value that is a varint on the wire.
pub(super) fn varint(reader: &mut Reader<'_>, kind: Kind) -> Result<u64, Stop> {
    match kind {
        Kind::Bool => bool(reader),
        Kind::Enum(names) => enum_value(reader, names),
        Kind::Int32 => int32(reader).map(|value| i64::from(value).cast_unsigned()),
        Kind::Sint32 => {
            let value = int32(reader)?;
            Ok(u64::from((value << 1 ^ value >> 31).cast_unsigned()))
        }
        Kind::Uint32 => uint32(reader).map(u64::from),
        Kind::Int64 => signed(reader),
        _ => unsigned(reader),
    }
}

/// Reads a value that takes eight bytes on the wire.
#[inline(always)]
pub(super) fn fixed64(reader: &mut Reader<'_>, kind: Kind) -> Result<u64, Stop> {
    match kind {
        Kind::Double => double(reader).map(f64::to_bits),
        Kind::Sfixed64 => signed(reader),
        _ => unsigned(reader),
    }
}

#[inline(always)]
fn unsigned(reader: &mut Reader<'_>) -> Result<u64, Stop> {
    if let Some((value, len)) = number::quoted_digits(reader.rest()) {
        reader.advance(len);
        return Ok(value);
    }
    other_unsigned(reader)
}

#[inline(never)]
fn other_unsigned(reader: &mut Reader<'_>) -> Result<u64, Stop> {
    integer(reader, Integer::unsigned, "an unsigned integer of 64 bits")
}

#[inline(always)]
pub(super) fn uint32(reader: &mut Reader<'_>) -> Result<u32, Stop> {
    match small(reader) {
        Some(value) => Ok(value),
        None => other_uint32(reader),
    }
}

/// Reads the integer that is next if it has few digits and nothing else.
#[inline(always)]
fn small(reader: &mut Reader<'_>) -> Option<u32> {
    let (value, len) = number::small(reader.rest())?;
    reader.advance(len);
    Some(value)
}

#[inline(never)]
fn other_uint32(reader: &mut Reader<'_>) -> Result<u32, Stop> {
    integer(
        reader,
        |integer| u32::try_from(integer.unsigned()?).ok(),
        "an unsigned integer of 32 bits",
    )
}

fn int32(reader: &mut Reader<'_>) -> Result<i32, Stop> {
    integer(
        reader,
        |integer| i32::try_from(integer.signed()?).ok(),
        "an integer of 32 bits",
    )
}

fn bool(reader: &mut Reader<'_>) -> Result<u64, Stop> {
    reader.peek();
    if reader.word(b"true") {
        Ok(1)
    } else if reader.word(b"false") {
        Ok(0)
    } else {
        Err(reader.fail_here("true or false"))
    }
}

/// Reads an enum's number, or the name of its value.
fn enum_value(reader: &mut Reader<'_>, names: Names) -> Result<u64, Stop> {
    const EXPECTED: &str = "the number or the name of an enum's value";
    if let Some(value) = small(reader) {
        return Ok(u64::from(value));
    }
    if reader.peek() != Some(b'"') {
        let value = integer(
            reader,
            |integer| i32::try_from(integer.signed()?).ok(),
            EXPECTED,
        )?;
        return Ok(i64::from(value).cast_unsigned());
    }
    let token = reader.token(EXPECTED)?;
    let name = reader.content(token)?;
    match names.iter().position(|known| known.as_bytes() == &*name) {
        Some(number) => Ok(number as u64),
        None => Err(reader.fail(token.at - 1, Expected::This(EXPECTED))),
    }
}

/// Reads an integer, in quotes or not, that fits a type.
#[inline(always)]
fn integer<T>(
    reader: &mut Reader<'_>,
    fit: impl FnOnce(Integer) -> Option<T>,
    expected: &'static str,
) -> Result<T, Stop> {
    let in_quotes = reader.peek() == Some(b'"');
    let at = reader.at();
    let read = if in_quotes {
        let token = reader.token(expected)?;
        let digits = reader.content(token)?;
        number::integer(&digits).filter(|integer| integer.len == digits.len())
    } else {
        let rest = reader.rest();
        let read = number::integer(rest).filter(|_| number::begins_well(rest));
        reader.advance(read.map_or(0, |integer| integer.len));
        read
    };
    match read.and_then(fit) {
        Some(value) => Ok(value),
        None => Err(reader.fail(at, Expected::This(expected))),
    }
}

#[inline(always)]
fn signed(reader: &mut Reader<'_>) -> Result<u64, Stop> {
    if let Some((value, len)) = number::quoted_digits(reader.rest())
        && value <= i64::MAX.cast_unsigned()
    {
        reader.advance(len);
        return Ok(value);
    }
    other_signed(reader)
}

#[inline(never)]
fn other_signed(reader: &mut Reader<'_>) -> Result<u64, Stop> {
    let value = integer(reader, Integer::signed, "an integer of 64 bits")?;
    Ok(value.cast_unsigned())
}

fn double(reader: &mut Reader<'_>) -> Result<f64, Stop> {
    const EXPECTED: &str = "a number in the range of doubles";
    let in_quotes = reader.peek() == Some(b'"');
    let at = reader.at();
    let read = if in_quotes {
        let token = reader.token(EXPECTED)?;
        let digits = reader.content(token)?;
        let number = number::double(&digits).filter(|(_, len)| *len == digits.len());
        number
            .map(|(value, _)| value)
            .or_else(|| number::named_double(&digits))
    } else {
        let rest = reader.rest();
        let read = number::double(rest).filter(|_| number::begins_well(rest));
        reader.advance(read.map_or(0, |(_, len)| len));
        read.map(|(value, _)| value)
    };
    read.ok_or_else(|| reader.fail(at, Expected::This(EXPECTED)))
}
