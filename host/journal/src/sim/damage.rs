//! Tests of files whose bytes are not what was written.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use spandrel_pipeline::journal::RecordError;

use super::disk::{Call, SimDisk};
use super::payload::identify;
use super::rig::{Rig, contents, options};
use crate::format::DecodeResult;
use crate::format::checkpoint::Checkpoint;
use crate::format::segment::SegmentHeader;
use crate::options::Options;
use crate::recovery::{LogRecovery, OpenError};
use crate::segments::read::read_record;
use crate::store::OpenJournal;
use crate::vfs::Memory;

type Files = BTreeMap<PathBuf, Vec<u8>>;

/// A closed journal, and the contents of its ingress log.
struct Closed {
    files: Files,
    /// The batch of each number, and the place of its record: file, start, end.
    records: BTreeMap<u64, (u64, PathBuf, usize, usize)>,
}

fn closed(options: &Options, batches: usize, length: usize) -> Closed {
    let mut rig = Rig::new(SimDisk::new(), options);
    for batch in 0..batches {
        rig.append(0, &[length + batch % 64]);
        let number = batch as u64;
        if batch % 5 == 0 {
            rig.finish(0, number);
        }
        if batch % 16 == 0 {
            rig.tick(0);
        }
    }
    rig.append(1, &[300]);
    rig.close();
    let segments = &rig.logs[0].segments;
    let index = segments.index();
    let place = |(number, entry): (u64, crate::segments::RecordEntry)| {
        let path = segments.path(entry.segment);
        let start = usize::try_from(entry.offset).unwrap();
        let end = start + 48 + usize::try_from(entry.length).unwrap();
        (number, (rig.owed[0].records[&number], path, start, end))
    };
    let records = index.records_from(0).map(place).collect();
    drop(index);
    assert_eq!(contents(&rig.logs[0]).len(), rig.owed[0].records.len());
    Closed {
        files: rig.disk.files().into_iter().collect(),
        records,
    }
}

fn open(files: &Files, options: &Options) -> Result<(BTreeMap<u64, u64>, LogRecovery), OpenError> {
    let memory = Memory::default();
    for (path, bytes) in files {
        memory.put(path, bytes);
    }
    let log = OpenJournal::new(Arc::new(memory), options.clone())?.ingress;
    let unfinished = log.segments.index().unfinished(0, usize::MAX);
    let found = unfinished.iter().map(|record| {
        let bytes = read_record(&log.segments, record.record).expect("a record that is there");
        (record.record, identify(&bytes))
    });
    Ok((found.collect(), log.report))
}

impl Closed {
    /// Opens the files with these bits flipped. Checks that every intact record is there, and that
    /// the reported loss is what is missing. Returns the number of missing records.
    fn survives(&self, flips: &[(PathBuf, usize, u8)], options: &Options) -> u64 {
        let mut files = self.files.clone();
        for (path, at, bits) in flips {
            files.get_mut(path).unwrap()[*at] ^= bits;
        }
        let (found, report) = open(&files, options).expect("damage is no reason not to start");
        let mut missing = 0;
        for (number, (id, path, start, end)) in &self.records {
            let touched = |(flipped, at, bits): &(PathBuf, usize, u8)| {
                *bits != 0 && flipped == path && (*start..*end).contains(at)
            };
            match found.get(number) {
                Some(batch) => assert_eq!(batch, id, "another batch at {number}"),
                None => missing += 1,
            }
            let intact = !flips.iter().any(touched) && has_header(&files[path]);
            assert_eq!(found.contains_key(number), intact, "record {number}");
        }
        // Without a synced checkpoint, neither the finished records nor the last numbers are known.
        let slots = ["checkpoint-0", "checkpoint-1"];
        let slot = |name: &&str| &files[&Path::new("/journal/traces/ingress").join(name)];
        let good = |bytes: &Vec<u8>| matches!(Checkpoint::decode(bytes), DecodeResult::Good(_));
        if slots.iter().map(slot).any(good) {
            assert_eq!(report.lost, missing, "{report:?}");
            let owed = |number| self.records.contains_key(number);
            assert!(found.keys().all(owed), "a finished record is there again");
        }
        missing
    }

    fn ingress(&self) -> Vec<(&PathBuf, usize)> {
        let files = self.files.iter();
        let files = files.filter(|(path, _)| path.starts_with("/journal/traces/ingress"));
        files.map(|(path, bytes)| (path, bytes.len())).collect()
    }
}

fn has_header(bytes: &[u8]) -> bool {
    let heads = [&bytes[..512], &bytes[bytes.len() - 512..]];
    heads
        .iter()
        .any(|head| matches!(SegmentHeader::decode(head), DecodeResult::Good(_)))
}

/// Any single byte of any file of a small journal may change: it opens, every intact record is
/// there, and exactly the number of lost records is reported.
#[test]
fn every_byte_may_be_damaged() {
    let options = options();
    let closed = closed(&options, 40, 400);
    let mut lost = 0;
    for (path, length) in closed.ingress() {
        for at in 0..length {
            lost += closed.survives(&[(path.clone(), at, 0x20)], &options);
        }
    }
    let bytes: usize = closed
        .records
        .values()
        .map(|(_, _, start, end)| end - start)
        .sum();
    assert_eq!(lost, bytes as u64, "each byte of each record is looked at");
}

/// Random bits of a large journal may change, from one to a thousand of them at once.
/// `SPANDREL_FLIPS=100000` is the long form.
#[test]
fn many_bytes_may_be_damaged() {
    let options = Options {
        segment_bytes: 64 << 10,
        max_bytes: 16 << 20,
        ..options()
    };
    let closed = closed(&options, 4000, 500);
    let files = closed.ingress();
    let most = std::env::var("SPANDREL_FLIPS").map_or(4000, |flips| flips.parse().unwrap());
    let (mut flipped, mut round) = (0, 0);
    while flipped < most {
        let mut random = StdRng::seed_from_u64(round);
        let count = [1, 10, 100, 1000][random.random_range(0..4)];
        // No byte is flipped twice: that would mend it.
        let mut flips: BTreeMap<(PathBuf, usize), u8> = BTreeMap::new();
        for _ in 0..count {
            let (path, length) = files[random.random_range(0..files.len())];
            let at = random.random_range(0..length);
            flips.insert((path.clone(), at), 1 << random.random_range(0..8));
        }
        let flips: Vec<_> = flips
            .into_iter()
            .map(|((path, at), bits)| (path, at, bits))
            .collect();
        closed.survives(&flips, &options);
        flipped += count;
        round += 1;
    }
}

/// Files that are cut short, emptied or gone lose what was in them, and no more.
#[test]
fn files_may_be_cut() {
    let options = options();
    let closed = closed(&options, 40, 400);
    for (path, length) in closed.ingress() {
        for cut in [
            Some(0),
            Some(1),
            Some(511),
            Some(1000),
            Some(length - 1),
            None,
        ] {
            let mut files = closed.files.clone();
            match cut {
                Some(cut) => files.get_mut(path).unwrap().truncate(cut),
                None => drop(files.remove(path)),
            }
            let (found, report) = open(&files, &options).expect("opens");
            assert_eq!(report.lost, (closed.records.len() - found.len()) as u64);
            for (number, (id, file, _, end)) in &closed.records {
                let intact = file != path || cut.is_some_and(|cut| *end <= cut);
                assert_eq!(found.get(number), intact.then_some(id), "{cut:?}");
            }
        }
    }
}

/// With `strict`, a start with damage is refused.
#[test]
fn strict_refuses_damage() {
    let options = Options {
        strict: true,
        ..options()
    };
    let mut closed = closed(&options, 40, 400);
    assert!(open(&closed.files, &options).is_ok());
    let (_, path, start, _) = closed.records.values().next().unwrap().clone();
    closed.files.get_mut(&path).unwrap()[start + 60] ^= 1;
    let refused = open(&closed.files, &options);
    assert!(matches!(refused, Err(OpenError::Damaged { lost: 1, .. })));
}

/// A disk that cannot read its bytes for a while destroys nothing. Whichever reads fail while a
/// journal opens, and whatever is done with it then, everything is there at the next start, and
/// nothing was reported lost.
#[test]
fn unread_bytes_are_left_alone() {
    let options = options();
    for first in 0.. {
        let disk = SimDisk::new();
        let mut rig = Rig::new(disk.clone(), &options);
        for _ in 0..8 {
            rig.append(0, &[1500; 4]);
        }
        for number in 0..6 {
            rig.finish(0, number);
        }
        rig.close();
        rig.logs.clear();
        let segment = |call: &Call| match call {
            Call::Read(path) => path.file_name().unwrap() != "checkpoint-0",
            _ => false,
        };
        let (told, came) = std::sync::mpsc::channel();
        let mut reads = 0;
        disk.faults(Some(Box::new(move |call| {
            reads += usize::from(segment(call));
            let fault = segment(call) && (first..first + 2).contains(&(reads - 1));
            fault.then(|| told.send(()).unwrap());
            fault.then_some(std::io::ErrorKind::Other)
        })));
        rig.logs = super::rig::open(&disk, &options).unwrap();
        disk.faults(None);
        let report = &rig.logs[0].report;
        assert_eq!((report.lost, report.damaged_headers), (0, 0), "{report:?}");
        let there = contents(&rig.logs[0]);
        let missing = rig.owed[0].records.len() - there.len();
        assert_eq!(report.unread_records, missing as u64);
        for _ in 0..3 {
            rig.append(0, &[1500; 4]);
        }
        for number in there.into_keys() {
            rig.finish(0, number);
        }
        rig.tick(0);
        rig.close();
        rig.reopen(&options);
        assert_eq!(rig.owed[0].records.len(), 12 + missing);
        if came.try_iter().count() < 2 {
            assert!(first > 10, "{first} reads");
            break;
        }
    }
}

/// A record whose bytes change while the journal is open is not returned, and is counted.
#[test]
fn no_wrong_byte_is_read() {
    let disk = SimDisk::new();
    let mut rig = Rig::new(disk.clone(), &options());
    rig.append(0, &[400, 400]);
    let segments = &rig.logs[0].segments;
    let (start, path) = {
        let index = segments.index();
        let (entry, _) = index.locate(0).unwrap();
        (entry.offset, segments.path(entry.segment))
    };
    for at in [0, 8, 48, 100, 447] {
        let at = usize::try_from(start).unwrap() + at;
        disk.flip(&path, at);
        let damaged = read_record(segments, 0);
        assert!(
            matches!(damaged, Err(RecordError::Damaged { record: 0 })),
            "{at}"
        );
        disk.flip(&path, at);
        assert!(read_record(segments, 0).is_ok() && read_record(segments, 1).is_ok());
    }
    assert_eq!(segments.counters().snapshot().damaged, 5);
}

/// A segment that is used again shows nothing of its earlier uses, even if no checkpoint is left to
/// say that they are finished.
#[test]
fn earlier_uses_are_not_seen() {
    let options = options();
    let disk = SimDisk::new();
    let mut rig = Rig::new(disk.clone(), &options);
    for _ in 0..5 {
        rig.append(0, &[1500; 4]);
        let numbers: Vec<u64> = rig.owed[0].records.keys().copied().collect();
        for number in numbers {
            rig.finish(0, number);
        }
        rig.tick(0);
    }
    // The last records lie over a part of the earlier ones.
    rig.append(0, &[1500; 4]);
    rig.tick(0);
    rig.append(0, &[1500]);
    assert_eq!(rig.logs[0].segments.free().next_id(), 2);
    let owed = rig.owed[0].records.clone();
    rig.close();
    rig.logs.clear();
    let mut files: Files = disk.files().into_iter().collect();
    files.retain(|path, _| !path.to_str().unwrap().contains("checkpoint"));
    let (found, _) = open(&files, &options).unwrap();
    assert_eq!(found, owed);
}

/// With `strict`, a start with segments that cannot be read is refused, too.
#[test]
fn strict_refuses_what_it_cannot_read() {
    let options = Options {
        strict: true,
        ..options()
    };
    let disk = SimDisk::new();
    let mut rig = Rig::new(disk.clone(), &options);
    rig.append(0, &[1500; 4]);
    rig.close();
    rig.logs.clear();
    disk.faults(Some(Box::new(|call| match call {
        Call::Read(path) if path.to_str().unwrap().contains("segment") => {
            Some(std::io::ErrorKind::Other)
        }
        _ => None,
    })));
    let refused = super::rig::open(&disk, &options);
    assert!(matches!(refused, Err(OpenError::Damaged { .. })));
    disk.faults(None);
    rig.reopen(&options);
    assert_eq!(rig.owed[0].records.len(), 4);
}
