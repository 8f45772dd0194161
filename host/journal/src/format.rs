//! The bytes of a segment: its header, which is there twice, and its records.

pub(crate) mod checkpoint;
pub(crate) mod finished;

use crc32c::crc32c_append;

/// The smallest unit that a disk writes whole.
pub(crate) const SECTOR: u64 = 512;

/// The offset of a segment's first record: behind the sector of its header.
pub(crate) const FIRST: u64 = SECTOR;

/// Records begin at multiples of this, so that a search for one is fast.
pub(crate) const ALIGN: u64 = 16;

/// Bytes before a record's payload.
pub(crate) const RECORD: u64 = 48;

/// The largest payload: far above what a receiver lets in, and small enough to be in memory.
pub(crate) const MAX_PAYLOAD: u64 = 1 << 30;

/// The bound of all numbers, so that sums of two do not overflow. At a million a second, reaching
/// it takes 290,000 years.
pub(crate) const MAX_NUMBER: u64 = u64::MAX >> 1;

/// The layout that this code writes.
pub(crate) const VERSION: u32 = 1;

const SEGMENT_MAGIC: [u8; 8] = *b"spandSEG";
const RECORD_MAGIC: [u8; 4] = *b"\xf5REC";

/// Reads little-endian numbers one after the other.
pub(crate) struct Reader<'a>(pub(crate) &'a [u8]);

impl Reader<'_> {
    pub(crate) fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (found, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*found)
    }

    pub(crate) fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    pub(crate) fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }
}

/// The header of a segment. It is in the first sector, and again in the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SegmentHeader {
    /// The number in its file's name.
    pub(crate) id: u64,
    /// Counts the uses of segments in this log, which gives the order of their records.
    pub(crate) order: u64,
    /// A number in every checksum: records of an earlier use of the file, and payloads that look
    /// like records, do not match it.
    pub(crate) salt: u64,
    /// Records of earlier segments with this number or a higher one were never acknowledged.
    /// Records in this segment may have lower numbers if they were moved here.
    pub(crate) base: u64,
    /// The length of the file.
    pub(crate) size: u64,
}

/// The state of a segment header's bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Head {
    /// The header was never written.
    Blank,
    /// The bytes are not a header as written.
    Damaged,
    /// The header has a layout that this code does not know.
    Newer(u32),
    /// The header is good.
    Good(SegmentHeader),
}

impl SegmentHeader {
    /// Encodes the header into its sector.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut body = Vec::with_capacity(512);
        body.extend(VERSION.to_le_bytes());
        for field in [self.id, self.order, self.salt, self.base, self.size] {
            body.extend(field.to_le_bytes());
        }
        let mut sector = Vec::with_capacity(512);
        sector.extend(SEGMENT_MAGIC);
        sector.extend(crc32c_append(0, &body).to_le_bytes());
        sector.append(&mut body);
        sector.resize(512, 0);
        sector
    }

    /// Decodes a sector.
    pub(crate) fn decode(sector: &[u8]) -> Head {
        if sector.iter().all(|byte| *byte == 0) {
            return Head::Blank;
        }
        decode_header(sector).unwrap_or(Head::Damaged)
    }
}

fn decode_header(sector: &[u8]) -> Option<Head> {
    let mut reader = Reader(sector);
    if reader.array()? != SEGMENT_MAGIC || reader.u32()? != crc32c_append(0, reader.0.get(..44)?) {
        return None;
    }
    let version = reader.u32()?;
    if version != VERSION {
        return Some(Head::Newer(version));
    }
    let header = SegmentHeader {
        id: reader.u64()?,
        order: reader.u64()?,
        salt: reader.u64()?,
        base: reader.u64()?,
        size: reader.u64()?,
    };
    let sane = header.base < MAX_NUMBER && header.order < MAX_NUMBER;
    sane.then_some(Head::Good(header))
}

/// The header before a record's payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RecordHeader {
    /// The record's number.
    pub(crate) number: u64,
    /// The length of its payload.
    pub(crate) length: u32,
    /// The checksum over salt, number and payload.
    pub(crate) checksum: u32,
    /// The number of its items.
    pub(crate) items: u64,
    /// The time of writing: nanoseconds since 1970.
    pub(crate) written: u64,
    /// All records below this number were acknowledged when this one was written. So a missing
    /// record below it is a loss, and a missing one above it is a write that was cut off.
    pub(crate) promised: u64,
}

/// Returns the checksum of a payload.
pub(crate) fn payload_checksum(salt: u64, number: u64, payload: &[u8]) -> u32 {
    let start = crc32c_append(0, &salt.to_le_bytes());
    crc32c_append(crc32c_append(start, &number.to_le_bytes()), payload)
}

/// Returns the bytes that a record takes in a segment.
pub(crate) fn footprint(length: u64) -> u64 {
    (RECORD + length).next_multiple_of(ALIGN)
}

impl RecordHeader {
    pub(crate) fn encode(&self, salt: u64) -> [u8; 48] {
        let mut bytes = [0; 48];
        let (magic, rest) = bytes.split_at_mut(8);
        let fields = [self.number.to_le_bytes(), pair(self.length, self.checksum)];
        let more = [self.items, self.written, self.promised].map(u64::to_le_bytes);
        for (place, field) in rest.chunks_exact_mut(8).zip(fields.iter().chain(&more)) {
            place.copy_from_slice(field);
        }
        let checksum = crc32c_append(crc32c_append(0, &salt.to_le_bytes()), rest);
        magic.copy_from_slice(&pair(u32::from_le_bytes(RECORD_MAGIC), checksum));
        bytes
    }

    /// Decodes a header that was written with this salt.
    pub(crate) fn decode(bytes: &[u8], salt: u64) -> Option<Self> {
        let mut reader = Reader(bytes.get(..48)?);
        if reader.array()? != RECORD_MAGIC {
            return None;
        }
        let checksum = reader.u32()?;
        if checksum != crc32c_append(crc32c_append(0, &salt.to_le_bytes()), reader.0) {
            return None;
        }
        let header = Self {
            number: reader.u64()?,
            length: reader.u32()?,
            checksum: reader.u32()?,
            items: reader.u64()?,
            written: reader.u64()?,
            promised: reader.u64()?,
        };
        let sane = header.number < MAX_NUMBER && header.promised <= header.number;
        sane.then_some(header)
    }
}

fn pair(first: u32, second: u32) -> [u8; 8] {
    (u64::from(first) | u64::from(second) << 32).to_le_bytes()
}

#[cfg(test)]
mod tests {
    use super::{Head, RecordHeader, SegmentHeader, payload_checksum};

    /// A header is decoded as it was encoded, and every flipped bit is noticed.
    #[test]
    fn headers_are_read_as_written() {
        let header = SegmentHeader {
            id: 1,
            order: 2,
            salt: 3,
            base: 4,
            size: 5,
        };
        let sector = header.encode();
        assert_eq!(SegmentHeader::decode(&sector), Head::Good(header));
        assert_eq!(SegmentHeader::decode(&[0; 512]), Head::Blank);
        for at in 0..56 {
            let mut flipped = sector.clone();
            flipped[at] ^= 0x10;
            assert_eq!(SegmentHeader::decode(&flipped), Head::Damaged, "{at}");
        }
        let record = RecordHeader {
            number: 7,
            length: 100,
            checksum: payload_checksum(3, 7, b"payload"),
            items: 9,
            written: 11,
            promised: 6,
        };
        let bytes = record.encode(3);
        assert_eq!(RecordHeader::decode(&bytes, 3), Some(record));
        assert_eq!(RecordHeader::decode(&bytes, 4), None);
        for at in 0..48 {
            let mut flipped = bytes;
            flipped[at] ^= 0x10;
            assert_eq!(RecordHeader::decode(&flipped, 3), None, "{at}");
        }
    }
}
