//! Records that are written together.

use bytes::Bytes;

use crate::format::record::{ALIGN, RecordHeader, footprint, payload_checksum};
use crate::segments::RecordEntry;
use crate::writer::length;

/// Bytes that fill a record up to where the next may begin.
const PADDING: [u8; 16] = [0; 16];

/// A record that is to be written.
#[derive(Clone, Debug)]
pub(super) struct Record {
    lsn: u64,
    payload: Bytes,
    items: u64,
    written_nanos: u64,
}

impl Record {
    pub(super) fn new(lsn: u64, payload: Bytes, items: u64, written_nanos: u64) -> Self {
        Self {
            lsn,
            payload,
            items,
            written_nanos,
        }
    }

    pub(super) fn lsn(&self) -> u64 {
        self.lsn
    }

    /// Returns the length of the payload.
    pub(super) fn length(&self) -> u64 {
        length(&self.payload)
    }

    /// Returns the length of the payload, at most `MAX_PAYLOAD`.
    fn short_length(&self) -> u32 {
        u32::try_from(self.payload.len()).unwrap_or(u32::MAX)
    }

    fn footprint(&self) -> u64 {
        footprint(self.length())
    }

    fn padding(&self) -> &'static [u8] {
        let over = self.length() % ALIGN;
        let missing = usize::try_from((ALIGN - over) % ALIGN).unwrap_or_default();
        PADDING.get(..missing).unwrap_or_default()
    }
}

/// Records in the order of their LSNs, which one write appends.
#[derive(Debug)]
pub(super) struct CommitGroup {
    records: Vec<Record>,
    /// All records below this LSN are acknowledged.
    commit_lsn: u64,
}

impl CommitGroup {
    pub(super) fn new(records: Vec<Record>, commit_lsn: u64) -> Self {
        Self {
            records,
            commit_lsn,
        }
    }

    /// Returns the headers of the records in a segment with this salt.
    pub(super) fn headers(&self, salt: u64) -> Vec<[u8; 48]> {
        let header = |record: &Record| {
            let header = RecordHeader {
                lsn: record.lsn,
                length: record.short_length(),
                checksum: payload_checksum(salt, record.lsn, &record.payload),
                items: record.items,
                written_nanos: record.written_nanos,
                commit_lsn: self.commit_lsn,
            };
            header.encode(salt)
        };
        self.records.iter().map(header).collect()
    }

    /// Returns the bytes of the records with these headers, in pieces.
    pub(super) fn parts<'a>(&'a self, headers: &'a [[u8; 48]]) -> Vec<&'a [u8]> {
        let records = self.records.iter().zip(headers);
        let parts = records.flat_map(|(record, header)| {
            [header.as_slice(), record.payload.as_ref(), record.padding()]
        });
        parts.filter(|part| !part.is_empty()).collect()
    }

    /// Returns the places of the records if they are written at `tail`.
    pub(super) fn entries(&self, segment: u64, tail: u64) -> Vec<(u64, RecordEntry)> {
        let mut offset = tail;
        let entry = |record: &Record| {
            let entry = RecordEntry {
                segment,
                offset,
                length: record.short_length(),
                items: record.items,
                written_nanos: record.written_nanos,
            };
            offset += record.footprint();
            (record.lsn, entry)
        };
        self.records.iter().map(entry).collect()
    }

    pub(super) fn footprint(&self) -> u64 {
        self.records.iter().map(Record::footprint).sum()
    }
}
