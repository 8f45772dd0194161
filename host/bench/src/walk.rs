//! Goes to each item of a request, wherever its bytes lie.
//!
//! A request arrives in pieces, one for each DATA frame. They are walked as they are: nothing is
//! put together, and an item is only read up to its name and its time.

use bytes::Bytes;
use spandrel_wire::Signal;

// Wire types of Protocol Buffers.
const VARINT: u64 = 0;
const FIXED64: u64 = 1;
const LEN: u64 = 2;
const FIXED32: u64 = 5;

/// The place of a signal's items in a request, and the fields that are read of an item.
#[derive(Debug)]
pub(crate) struct Shape {
    /// The fields that lead from the request to an item; several fields where the step is a choice.
    path: &'static [&'static [u32]],
    /// The field of the name, which is eight bytes: of a length-delimited field, or of a fixed one.
    id: u32,
    /// The field of the time when the item was sent, in nanoseconds.
    time: u32,
    /// The field of a second time: the end of a span, or the time when a log record was observed.
    second_time: u32,
    trace: u32,
    /// The wire type of the name: `LEN` for the bytes of a span id, `FIXED64` for a little-endian
    /// number.
    id_wire_type: u64,
}

/// A number that no field has.
const NONE: u32 = 0;

impl Shape {
    pub(crate) fn of(signal: Signal) -> &'static Self {
        match signal {
            Signal::Traces => &Self {
                path: &[&[1], &[2], &[2]],
                id: 2,
                time: 7,
                second_time: 8,
                trace: 1,
                id_wire_type: LEN,
            },
            // Number points of gauges and sums.
            Signal::Metrics => &Self {
                path: &[&[1], &[2], &[2], &[5, 7], &[1]],
                id: 6,
                time: 3,
                second_time: NONE,
                trace: NONE,
                id_wire_type: FIXED64,
            },
            Signal::Logs => &Self {
                path: &[&[1], &[2], &[2]],
                id: 10,
                time: 1,
                second_time: 11,
                trace: 9,
                id_wire_type: LEN,
            },
        }
    }

    /// Returns a name as it is written.
    pub(crate) fn id_bytes(&self, id: u64) -> [u8; 8] {
        if self.id_wire_type == LEN {
            id.to_be_bytes()
        } else {
            id.to_le_bytes()
        }
    }

    fn id_of(&self, bytes: [u8; 8]) -> u64 {
        if self.id_wire_type == LEN {
            u64::from_be_bytes(bytes)
        } else {
            u64::from_le_bytes(bytes)
        }
    }
}

/// Receives every item of a request.
pub(crate) trait ItemVisitor {
    /// Returns true if the time of this item is of interest; if not, it need not be looked for.
    fn wants_time(&mut self, id: u64) -> bool;

    /// Receives an item. The name or the time is zero if the item has none, or if it was not looked
    /// for.
    fn item(&mut self, id: u64, time: u64);
}

/// The offsets of an item's patched fields in the request; `None` for a field that it lacks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct FieldOffsets {
    pub(crate) id: Option<usize>,
    pub(crate) time: Option<usize>,
    pub(crate) second_time: Option<usize>,
    pub(crate) trace: Option<usize>,
}

/// Shows every item of a request in pieces to `visit`. Returns false if it is not a request.
pub(crate) fn items(signal: Signal, pieces: &[Bytes], visit: &mut impl ItemVisitor) -> bool {
    let shape = Shape::of(signal);
    let end = pieces.iter().map(Bytes::len).sum();
    let mut cursor = Cursor::new(pieces);
    descend(&mut cursor, end, shape.path, &mut |cursor, end| {
        // Nearly every item lies in one piece. The beginning of the next one then depends only on
        // this one's length, so that the processor fetches it while this one is read.
        if let Some(bytes) = cursor.whole(end - cursor.at) {
            read_item(&mut Cursor::of(bytes), bytes.len(), shape, visit)
        } else {
            read_item(cursor, end, shape, visit)
        }
    })
    .is_some()
}

/// Returns the offsets of every item's fields, in the order of the items; `None` if it is not a
/// request.
pub(crate) fn offsets(signal: Signal, request: &Bytes) -> Option<Vec<FieldOffsets>> {
    let shape = Shape::of(signal);
    let mut offsets = Vec::new();
    let pieces = std::slice::from_ref(request);
    descend(
        &mut Cursor::new(pieces),
        request.len(),
        shape.path,
        &mut |cursor, end| {
            offsets.push(find_offsets(cursor, end, shape)?);
            Some(())
        },
    )?;
    Some(offsets)
}

/// Goes to each message at the end of `path` in the bytes before `end`.
fn descend(
    cursor: &mut Cursor<'_>,
    end: usize,
    path: &[&[u32]],
    found: &mut impl FnMut(&mut Cursor<'_>, usize) -> Option<()>,
) -> Option<()> {
    let (fields, rest) = path.split_first()?;
    while cursor.at < end {
        let (field, wire_type) = cursor.key()?;
        if wire_type != LEN || !fields.contains(&field) {
            cursor.skip_value(wire_type)?;
            continue;
        }
        let inner_end = cursor.length()?;
        if rest.is_empty() {
            found(cursor, inner_end)?;
        } else {
            descend(cursor, inner_end, rest, found)?;
        }
        if cursor.at != inner_end {
            return None;
        }
    }
    Some(())
}

/// Reads an item only as far as it is needed.
#[inline]
fn read_item(
    cursor: &mut Cursor<'_>,
    end: usize,
    shape: &Shape,
    visit: &mut impl ItemVisitor,
) -> Option<()> {
    let (mut id, mut time) = (None, None);
    while cursor.at < end && (id.is_none() || time.is_none()) {
        let (field, wire_type) = cursor.key()?;
        if field == shape.id && wire_type == shape.id_wire_type {
            if wire_type == LEN && cursor.length()? - cursor.at != 8 {
                return None;
            }
            let name = shape.id_of(cursor.eight()?);
            id = Some(name);
            if !visit.wants_time(name) {
                break;
            }
        } else if field == shape.time && wire_type == FIXED64 {
            time = Some(u64::from_le_bytes(cursor.eight()?));
        } else {
            cursor.skip_value(wire_type)?;
        }
    }
    cursor.skip(end.checked_sub(cursor.at)?)?;
    visit.item(id.unwrap_or(0), time.unwrap_or(0));
    Some(())
}

fn find_offsets(cursor: &mut Cursor<'_>, end: usize, shape: &Shape) -> Option<FieldOffsets> {
    let mut found = FieldOffsets::default();
    while cursor.at < end {
        let (field, wire_type) = cursor.key()?;
        let before = cursor.at;
        cursor.skip_value(wire_type)?;
        // The value is at the end of the skipped bytes: behind its length, if it has one.
        let (eight, sixteen) = (cursor.at.checked_sub(8), cursor.at.checked_sub(16));
        if field == shape.id && cursor.at - before >= 8 {
            found.id = eight;
        } else if field == shape.time {
            found.time = eight;
        } else if field == shape.second_time {
            found.second_time = eight;
        } else if field == shape.trace {
            found.trace = sixteen;
        }
    }
    Some(found)
}

/// A position in a request, which reads on through the pieces.
struct Cursor<'a> {
    pieces: std::slice::Iter<'a, Bytes>,
    piece: &'a [u8],
    /// The offset from the beginning of the request.
    at: usize,
}

impl<'a> Cursor<'a> {
    fn new(pieces: &'a [Bytes]) -> Self {
        Self {
            pieces: pieces.iter(),
            piece: &[],
            at: 0,
        }
    }

    /// Creates a cursor that reads nothing but these bytes.
    fn of(bytes: &'a [u8]) -> Self {
        Self {
            pieces: [].iter(),
            piece: bytes,
            at: 0,
        }
    }

    /// Returns the next bytes, if they lie in one piece.
    #[inline]
    fn whole(&mut self, length: usize) -> Option<&'a [u8]> {
        let (bytes, rest) = self.piece.split_at_checked(length)?;
        self.piece = rest;
        self.at += length;
        Some(bytes)
    }

    #[inline]
    fn byte(&mut self) -> Option<u8> {
        loop {
            if let Some((byte, rest)) = self.piece.split_first() {
                self.piece = rest;
                self.at += 1;
                return Some(*byte);
            }
            self.piece = self.pieces.next()?;
        }
    }

    #[inline]
    fn varint(&mut self) -> Option<u64> {
        // Keys and most lengths are one byte.
        if let Some((byte @ 0..0x80, rest)) = self.piece.split_first() {
            self.piece = rest;
            self.at += 1;
            return Some(u64::from(*byte));
        }
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some(value);
            }
        }
        None
    }

    /// Reads a field's number and wire type.
    #[inline]
    fn key(&mut self) -> Option<(u32, u64)> {
        let key = self.varint()?;
        Some((u32::try_from(key >> 3).ok()?, key & 7))
    }

    /// Reads a length, and returns where the value of that length ends.
    #[inline]
    fn length(&mut self) -> Option<usize> {
        let length = usize::try_from(self.varint()?).ok()?;
        self.at.checked_add(length)
    }

    #[inline]
    fn eight(&mut self) -> Option<[u8; 8]> {
        if let Some((eight, rest)) = self.piece.split_first_chunk() {
            self.piece = rest;
            self.at += 8;
            return Some(*eight);
        }
        let mut eight = [0; 8];
        for byte in &mut eight {
            *byte = self.byte()?;
        }
        Some(eight)
    }

    #[inline]
    fn skip(&mut self, mut length: usize) -> Option<()> {
        self.at = self.at.checked_add(length)?;
        loop {
            if let Some((_, rest)) = self.piece.split_at_checked(length) {
                self.piece = rest;
                return Some(());
            }
            length -= self.piece.len();
            self.piece = self.pieces.next()?;
        }
    }

    #[inline]
    fn skip_value(&mut self, wire_type: u64) -> Option<()> {
        match wire_type {
            VARINT => self.varint().map(drop),
            FIXED64 => self.skip(8),
            LEN => {
                let end = self.length()?;
                self.skip(end - self.at)
            }
            FIXED32 => self.skip(4),
            _ => None,
        }
    }
}
