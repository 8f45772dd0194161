//! Finds the records in the bytes of a segment.

use std::io;

use crate::format::SECTOR;
use crate::format::record::{
    ALIGN, HEADER, MAX_PAYLOAD, RecordHeader, footprint, payload_checksum,
};
use crate::format::segment::{FIRST, SegmentHeader};
use crate::vfs::File;

/// Bytes that are read at once.
const PIECE: usize = 1 << 20;

/// Bytes that are read alone where a piece cannot be read.
const PAGE: usize = 4096;

/// The records in a segment.
#[derive(Debug, Default)]
pub(super) struct SegmentScan {
    /// Good records, and their offsets.
    pub(super) records: Vec<(u64, RecordHeader)>,
    /// Records with a good header and a payload that is not as it was written.
    pub(super) broken: Vec<RecordHeader>,
}

/// Reads all of a segment that can be read, and leaves the rest as zeros. Returns true if no read
/// failed, apart from those behind the end of the file.
pub(super) fn load(file: &dyn File, length: u64, bytes: &mut Vec<u8>) -> bool {
    let max = MAX_PAYLOAD + (1 << 20);
    bytes.clear();
    bytes.resize(usize::try_from(length.min(max)).unwrap_or_default(), 0);
    let mut offset = 0;
    let mut whole = true;
    for piece in bytes.chunks_mut(PIECE) {
        if file.read_at(piece, offset).is_err() {
            whole &= pages(file, piece, offset);
        }
        offset += u64::try_from(piece.len()).unwrap_or_default();
    }
    whole
}

fn pages(file: &dyn File, piece: &mut [u8], offset: u64) -> bool {
    let mut offset = offset;
    let mut whole = true;
    for page in piece.chunks_mut(PAGE) {
        if let Err(error) = file.read_at(page, offset) {
            // Bytes that were cut off are not there, and will not come back.
            whole &= error.kind() == io::ErrorKind::UnexpectedEof;
            page.fill(0);
        }
        offset += u64::try_from(page.len()).unwrap_or_default();
    }
    whole
}

/// Goes through a segment from record to record. Where there is none, it goes on at the next place
/// where one could be: the salt tells records from bytes that only look like one.
pub(super) fn scan(bytes: &[u8], header: &SegmentHeader) -> SegmentScan {
    let mut found = SegmentScan::default();
    let length = u64::try_from(bytes.len()).unwrap_or_default();
    let limit = header.size.saturating_sub(SECTOR);
    let end = length.min(limit);
    let mut offset = FIRST;
    while offset + HEADER <= end {
        let record = header_at(bytes, offset, header).filter(|record| {
            let length = u64::from(record.length);
            length <= MAX_PAYLOAD && offset + footprint(length) <= limit
        });
        let Some(record) = record else {
            offset = next_magic(bytes, offset + ALIGN);
            continue;
        };
        if is_good(bytes, offset, &record, header.salt) {
            found.records.push((offset, record));
            offset += footprint(u64::from(record.length));
        } else {
            found.broken.push(record);
            offset += ALIGN;
        }
    }
    found
}

fn header_at(bytes: &[u8], offset: u64, header: &SegmentHeader) -> Option<RecordHeader> {
    let offset = usize::try_from(offset).ok()?;
    RecordHeader::decode(bytes.get(offset..)?, header.salt)
}

fn is_good(bytes: &[u8], offset: u64, record: &RecordHeader, salt: u64) -> bool {
    let start = usize::try_from(offset + HEADER).unwrap_or(usize::MAX);
    let length = usize::try_from(record.length).unwrap_or(usize::MAX);
    let payload = bytes.get(start..start.saturating_add(length));
    payload.is_some_and(|payload| payload_checksum(salt, record.lsn, payload) == record.checksum)
}

/// Returns the next offset that is not blank. It skips zeros at the speed of memory.
fn next_magic(bytes: &[u8], offset: u64) -> u64 {
    let align = usize::try_from(ALIGN).unwrap_or(1);
    let start = usize::try_from(offset).unwrap_or(usize::MAX);
    let rest = bytes.get(start..).unwrap_or_default();
    let places = rest.chunks(align);
    let blank = places.take_while(|place| place.first() == Some(&0)).count();
    offset + ALIGN * u64::try_from(blank).unwrap_or_default()
}
