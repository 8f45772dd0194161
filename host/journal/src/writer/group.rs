//! Records that are written together.

use bytes::Bytes;

use crate::format::{ALIGN, RecordHeader, footprint, payload_checksum};
use crate::segments::Entry;
use crate::writer::length;

/// Bytes that fill a record up to where the next may begin.
const PADDING: [u8; 16] = [0; 16];

#[derive(Clone, Debug)]
pub(super) struct Record {
    pub(super) number: u64,
    pub(super) bytes: Bytes,
    items: u64,
    written: u64,
}

impl Record {
    pub(super) fn new(number: u64, bytes: Bytes, items: u64, written: u64) -> Self {
        Self {
            number,
            bytes,
            items,
            written,
        }
    }

    /// Returns the length of the payload, at most `MAX_PAYLOAD`.
    fn length(&self) -> u32 {
        u32::try_from(self.bytes.len()).unwrap_or(u32::MAX)
    }

    fn footprint(&self) -> u64 {
        footprint(length(&self.bytes))
    }

    fn padding(&self) -> &'static [u8] {
        let over = length(&self.bytes) % ALIGN;
        let missing = usize::try_from((ALIGN - over) % ALIGN).unwrap_or_default();
        PADDING.get(..missing).unwrap_or_default()
    }
}

/// Records in the order of their numbers.
#[derive(Debug)]
pub(super) struct Group {
    records: Vec<Record>,
    /// All records below this number are acknowledged.
    promised: u64,
}

impl Group {
    pub(super) fn new(records: Vec<Record>, promised: u64) -> Self {
        Self { records, promised }
    }

    pub(super) fn heads(&self, salt: u64) -> Vec<[u8; 48]> {
        let head = |record: &Record| {
            let header = RecordHeader {
                number: record.number,
                length: record.length(),
                checksum: payload_checksum(salt, record.number, &record.bytes),
                items: record.items,
                written: record.written,
                promised: self.promised,
            };
            header.encode(salt)
        };
        self.records.iter().map(head).collect()
    }

    pub(super) fn parts<'a>(&'a self, heads: &'a [[u8; 48]]) -> Vec<&'a [u8]> {
        let records = self.records.iter().zip(heads);
        let parts = records
            .flat_map(|(record, head)| [head.as_slice(), record.bytes.as_ref(), record.padding()]);
        parts.filter(|part| !part.is_empty()).collect()
    }

    /// Returns the places of its records if it is written at `tail`.
    pub(super) fn entries(&self, segment: u64, tail: u64) -> Vec<(u64, Entry)> {
        let mut offset = tail;
        let entry = |record: &Record| {
            let entry = Entry {
                segment,
                offset,
                length: record.length(),
                items: record.items,
                written: record.written,
            };
            offset += record.footprint();
            (record.number, entry)
        };
        self.records.iter().map(entry).collect()
    }

    pub(super) fn footprint(&self) -> u64 {
        self.records.iter().map(Record::footprint).sum()
    }
}
