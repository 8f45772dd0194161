//! Tests of recovery from arbitrary bytes.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use proptest::prelude::*;

use crate::checkpointer::file::{FILES, file_name};
use crate::format::checkpoint::Checkpoint;
use crate::format::record::{RecordHeader, footprint, payload_checksum};
use crate::format::segment::SegmentHeader;
use crate::options::Options;
use crate::recovery::OpenError;
use crate::segments::read::read_record;
use crate::store::OpenJournal;
use crate::vfs::Memory;

const SEGMENT: usize = 8 << 10;

/// The records that came out of a journal made of arbitrary bytes.
type Contents = BTreeMap<u64, Bytes>;

/// Opens a journal that these bytes describe, and opens it once more: it must be the same, and
/// nothing may be lost in between. Returns the number of records, or `None` if a header says that a
/// later release wrote it.
///
/// The bytes are pieces of a length (two bytes), a kind (one) and content. Each piece is a file of
/// a log. It is taken as it is, or with its checksums corrected, so that chance need not find them.
fn recover_bytes(bytes: &[u8]) -> Option<usize> {
    let memory = Memory::default();
    let dir = Path::new("/journal/ingress");
    let mut rest = bytes;
    let mut segments = 0_u8;
    while let Some((&[low, high, kind], after)) = rest.split_first_chunk::<3>() {
        let length = usize::from(u16::from_le_bytes([low, high])).min(after.len());
        let (content, after) = after.split_at_checked(length)?;
        rest = after;
        let (name, content) = match kind % 4 {
            0 => (file_name(usize::from(kind / 4) % FILES), content.to_vec()),
            1 => (
                file_name(usize::from(kind / 4) % FILES),
                checkpoint(content),
            ),
            other => {
                segments = segments.saturating_add(1);
                let name = format!("segment-{segments:016x}");
                let mended = other == 3;
                let content = if mended {
                    segment(u64::from(segments), content)
                } else {
                    content.to_vec()
                };
                (name, content)
            }
        };
        memory.put(&dir.join(name), &content);
    }
    let first = open(&memory)?;
    let second = open(&memory)?;
    assert!(first.1 == second.1, "another start finds something else");
    assert_eq!(second.0, 0, "what is lost is counted once");
    Some(first.1.len())
}

/// Returns the number of lost records, and the records that are there. Each can be read, or has
/// been damaged since.
fn open(memory: &Memory) -> Option<(u64, Contents)> {
    let options = Options {
        segment_bytes: u64::try_from(SEGMENT).unwrap_or_default(),
        max_bytes: 1 << 20,
        ..Options::new(PathBuf::from("/journal"))
    };
    let journal = match OpenJournal::new(Arc::new(memory.clone()), options) {
        Ok(journal) => journal,
        Err(error) => {
            assert!(
                matches!(error, OpenError::Newer { .. }),
                "not opened: {error}"
            );
            return None;
        }
    };
    let log = &journal.ingress;
    let unfinished = log.segments.index().unfinished(0, usize::MAX);
    let contents = unfinished.iter().map(|found| {
        let bytes = read_record(&log.segments, found.record);
        let bytes = bytes.unwrap_or_default();
        assert_eq!(bytes.len(), found.bytes, "a record that was there");
        (found.record, bytes)
    });
    Some((log.report.lost, contents.collect()))
}

fn number(bytes: &[u8], at: usize) -> u64 {
    let bytes = bytes.get(at..at.saturating_add(2)).unwrap_or_default();
    let value = |value: u64, byte: &u8| value << 8 | u64::from(*byte);
    bytes.iter().fold(0, value)
}

fn checkpoint(content: &[u8]) -> Vec<u8> {
    let next = number(content, 0);
    let mut checkpoint = Checkpoint {
        generation: number(content, 2),
        clean: number(content, 4).is_multiple_of(2),
        next_lsn: next,
        tried_below: number(content, 6),
        ..Checkpoint::default()
    };
    let low = number(content, 8).min(next);
    checkpoint.finished.insert_range(0, low);
    for piece in content.get(10..).unwrap_or_default().chunks_exact(5) {
        let start = number(piece, 0);
        let end = number(piece, 2).min(next);
        checkpoint.finished.insert_range(start, end);
        checkpoint
            .attempts
            .push((start, piece.last().copied().unwrap_or_default()));
    }
    checkpoint.encode()
}

/// Makes a segment whose headers are good, unless the content says otherwise.
fn segment(id: u64, content: &[u8]) -> Vec<u8> {
    let header = SegmentHeader {
        id,
        order: number(content, 0) % 16,
        salt: number(content, 2),
        base_lsn: number(content, 4) % 512,
        size: u64::try_from(SEGMENT).unwrap_or_default(),
    };
    let mut file = header.encode();
    for piece in content.get(6..).unwrap_or_default().chunks_exact(9) {
        let length = number(piece, 0) % 1000;
        let record = header.base_lsn + number(piece, 2) % 64;
        let payload = vec![
            piece.get(8).copied().unwrap_or_default();
            usize::try_from(length).unwrap_or_default()
        ];
        let wrong = u32::from(number(piece, 6).is_multiple_of(8));
        let header = RecordHeader {
            lsn: record,
            length: u32::try_from(length).unwrap_or_default(),
            checksum: payload_checksum(header.salt, record, &payload) ^ wrong,
            items: number(piece, 4),
            written_nanos: number(piece, 6),
            commit_lsn: record.saturating_sub(number(piece, 4) % 8),
        };
        let end = file.len() + usize::try_from(footprint(length)).unwrap_or_default();
        file.extend(header.encode(number(content, 2)));
        file.extend(payload);
        file.resize(end, 0);
    }
    file.resize(SEGMENT - 512, 0);
    file.extend(header.encode());
    file
}

fn piece() -> impl Strategy<Value = Vec<u8>> {
    (any::<u8>(), prop::collection::vec(any::<u8>(), 0..200)).prop_map(|(kind, content)| {
        let length = u16::try_from(content.len()).unwrap().to_le_bytes();
        [length.as_slice(), &[kind], &content].concat()
    })
}

proptest! {
    /// A log opens whatever its files are, and opens again as the same.
    #[test]
    fn any_files_open(pieces in prop::collection::vec(piece(), 0..8)) {
        recover_bytes(&pieces.concat());
    }
}

/// Files with corrected checksums are read as records: the fuzzer gets past the checksums.
#[test]
fn pieces_become_records() {
    let header = [0, 1, 0, 9, 0, 0];
    let records = [[0, 50, 0, 0, 0, 0, 0, 1, 7], [0, 60, 0, 1, 0, 0, 0, 1, 8]];
    let content = [header.as_slice(), &records.concat()].concat();
    let length = u16::try_from(content.len()).unwrap().to_le_bytes();
    let bytes = [length.as_slice(), &[3], &content].concat();
    assert_eq!(recover_bytes(&bytes), Some(2));
}
