//! The header of a segment, which is there twice.

use crc32c::crc32c_append;

use super::{DecodeResult, FieldReader, MAX_LSN, SECTOR, VERSION};

const MAGIC: [u8; 8] = *b"spandSEG";

/// The offset of a segment's first record: behind the sector of its header.
pub(crate) const FIRST: u64 = SECTOR;

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
    /// Records of earlier segments with this LSN or a higher one were never acknowledged.
    /// Records in this segment may have lower LSNs if they were moved here.
    pub(crate) base_lsn: u64,
    /// The length of the file.
    pub(crate) size: u64,
}

impl SegmentHeader {
    /// Encodes the header into its sector.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut body = Vec::with_capacity(512);
        body.extend(VERSION.to_le_bytes());
        for field in [self.id, self.order, self.salt, self.base_lsn, self.size] {
            body.extend(field.to_le_bytes());
        }
        let mut sector = Vec::with_capacity(512);
        sector.extend(MAGIC);
        sector.extend(crc32c_append(0, &body).to_le_bytes());
        sector.append(&mut body);
        sector.resize(512, 0);
        sector
    }

    /// Decodes a sector.
    pub(crate) fn decode(sector: &[u8]) -> DecodeResult<Self> {
        if sector.iter().all(|byte| *byte == 0) {
            return DecodeResult::Blank;
        }
        decode(sector).unwrap_or(DecodeResult::Damaged)
    }
}

fn decode(sector: &[u8]) -> Option<DecodeResult<SegmentHeader>> {
    let mut reader = FieldReader(sector);
    if reader.array()? != MAGIC || reader.u32()? != crc32c_append(0, reader.0.get(..44)?) {
        return None;
    }
    let version = reader.u32()?;
    if version != VERSION {
        return Some(DecodeResult::Newer(version));
    }
    let header = SegmentHeader {
        id: reader.u64()?,
        order: reader.u64()?,
        salt: reader.u64()?,
        base_lsn: reader.u64()?,
        size: reader.u64()?,
    };
    let sane = header.base_lsn < MAX_LSN && header.order < MAX_LSN;
    sane.then_some(DecodeResult::Good(header))
}

#[cfg(test)]
mod tests {
    use super::{DecodeResult, SegmentHeader};

    /// A header is decoded as it was encoded, and every flipped bit is noticed.
    #[test]
    fn segment_headers_are_read_as_written() {
        let header = SegmentHeader {
            id: 1,
            order: 2,
            salt: 3,
            base_lsn: 4,
            size: 5,
        };
        let sector = header.encode();
        assert_eq!(SegmentHeader::decode(&sector), DecodeResult::Good(header));
        assert_eq!(SegmentHeader::decode(&[0; 512]), DecodeResult::Blank);
        for at in 0..56 {
            let mut flipped = sector.clone();
            flipped[at] ^= 0x10;
            assert_eq!(
                SegmentHeader::decode(&flipped),
                DecodeResult::Damaged,
                "{at}"
            );
        }
    }
}
