//! The header of a record, and the place that a record takes.

use crc32c::crc32c_append;

use super::{FieldReader, MAX_LSN};

const MAGIC: [u8; 4] = *b"\xf5REC";

/// Records begin at multiples of this, so that a search for one is fast.
pub(crate) const ALIGN: u64 = 16;

/// Bytes of a record's header.
pub(crate) const HEADER: u64 = 48;

/// The largest payload: far above what a receiver lets in, and small enough to be in memory.
pub(crate) const MAX_PAYLOAD: u64 = 1 << 30;

/// The header before a record's payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RecordHeader {
    /// The LSN of the record.
    pub(crate) lsn: u64,
    /// The length of its payload.
    pub(crate) length: u32,
    /// The checksum over salt, LSN and payload.
    pub(crate) checksum: u32,
    /// The number of its items.
    pub(crate) items: u64,
    /// The time of writing: nanoseconds since 1970.
    pub(crate) written_nanos: u64,
    /// All records below this LSN were acknowledged when this one was written. So a missing record
    /// below it is a loss, and a missing one above it is a write that was cut off.
    pub(crate) commit_lsn: u64,
}

/// Returns the checksum of a payload.
pub(crate) fn payload_checksum(salt: u64, lsn: u64, payload: &[u8]) -> u32 {
    let start = crc32c_append(0, &salt.to_le_bytes());
    crc32c_append(crc32c_append(start, &lsn.to_le_bytes()), payload)
}

/// Returns the bytes that a record takes in a segment.
pub(crate) fn footprint(length: u64) -> u64 {
    (HEADER + length).next_multiple_of(ALIGN)
}

impl RecordHeader {
    pub(crate) fn encode(&self, salt: u64) -> [u8; 48] {
        let mut bytes = [0; 48];
        let (magic, rest) = bytes.split_at_mut(8);
        let fields = [self.lsn.to_le_bytes(), pair(self.length, self.checksum)];
        let more = [self.items, self.written_nanos, self.commit_lsn].map(u64::to_le_bytes);
        for (place, field) in rest.chunks_exact_mut(8).zip(fields.iter().chain(&more)) {
            place.copy_from_slice(field);
        }
        let checksum = crc32c_append(crc32c_append(0, &salt.to_le_bytes()), rest);
        magic.copy_from_slice(&pair(u32::from_le_bytes(MAGIC), checksum));
        bytes
    }

    /// Decodes a header that was written with this salt.
    pub(crate) fn decode(bytes: &[u8], salt: u64) -> Option<Self> {
        let mut reader = FieldReader(bytes.get(..48)?);
        if reader.array()? != MAGIC {
            return None;
        }
        let checksum = reader.u32()?;
        if checksum != crc32c_append(crc32c_append(0, &salt.to_le_bytes()), reader.0) {
            return None;
        }
        let header = Self {
            lsn: reader.u64()?,
            length: reader.u32()?,
            checksum: reader.u32()?,
            items: reader.u64()?,
            written_nanos: reader.u64()?,
            commit_lsn: reader.u64()?,
        };
        let sane = header.lsn < MAX_LSN && header.commit_lsn <= header.lsn;
        sane.then_some(header)
    }
}

fn pair(first: u32, second: u32) -> [u8; 8] {
    (u64::from(first) | u64::from(second) << 32).to_le_bytes()
}

#[cfg(test)]
mod tests {
    use super::{RecordHeader, payload_checksum};

    /// A header is decoded as it was encoded, and every flipped bit is noticed.
    #[test]
    fn record_headers_are_read_as_written() {
        let record = RecordHeader {
            lsn: 7,
            length: 100,
            checksum: payload_checksum(3, 7, b"payload"),
            items: 9,
            written_nanos: 11,
            commit_lsn: 6,
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
