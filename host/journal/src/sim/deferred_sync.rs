//! Tests of syncs that come after the acknowledgement, and fail.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::Path;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::disk::{Call, SimDisk};
use super::rig::{Rig, contents, options};
use super::seeds;
use crate::options::{Options, Sync};

fn late(sync: Sync) -> Options {
    Options { sync, ..options() }
}

const INTERVAL: Sync = Sync::Interval(Duration::from_secs(1));

fn of_segment(path: &Path) -> bool {
    let name = path.file_name().unwrap().to_str().unwrap();
    name.starts_with("segment-")
}

/// Makes the next calls of this kind fail: syncs or writes of a segment's records.
fn fail(disk: &SimDisk, times: u32, which: fn(&Call) -> bool) {
    let mut left = times;
    disk.faults(Some(Box::new(move |call| {
        let fault = left > 0 && which(call);
        left -= u32::from(fault);
        fault.then_some(ErrorKind::Other)
    })));
}

pub(super) fn syncs(call: &Call) -> bool {
    matches!(call, Call::Sync(path) if of_segment(path))
}

pub(super) fn writes(call: &Call) -> bool {
    matches!(call, Call::Write(path, offset, _) if of_segment(path) && (*offset >= 512))
}

/// Checks after a power failure that everything in `owed` is there, with its bytes.
fn is_there(rig: &mut Rig, owed: &BTreeMap<u64, u64>, options: &Options) {
    rig.logs.clear();
    let logs = super::rig::open(&rig.disk, options).expect("opens");
    let found = contents(&logs[0]);
    for (number, id) in owed {
        assert_eq!(found.get(number), Some(id), "record {number} is lost");
    }
}

/// A failed sync at the close costs nothing in a journal without other syncs: its records are
/// moved, and records in other segments stay where they are.
#[test]
fn a_failed_sync_at_the_close_costs_nothing() {
    for power in [false, true] {
        let options = late(Sync::None);
        let disk = SimDisk::new();
        let mut rig = Rig::new(disk.clone(), &options);
        for _ in 0..4 {
            rig.append(0, &[1500; 4]);
        }
        assert!(rig.logs[0].segments.index().segment_count() > 2);
        fail(&disk, 1, syncs);
        rig.close();
        disk.faults(None);
        if power {
            disk.lose_power(&mut |_| 0);
        } else {
            disk.kill();
        }
        rig.reopen(&options);
        assert_eq!(rig.owed[0].records.len(), 16);
    }
}

/// A close makes every segment durable, not only the last.
#[test]
fn a_close_syncs_every_segment() {
    let options = late(Sync::None);
    let disk = SimDisk::new();
    let mut rig = Rig::new(disk.clone(), &options);
    for _ in 0..100 {
        rig.append(0, &[1500; 4]);
    }
    rig.close();
    disk.lose_power(&mut |_| 0);
    rig.reopen(&options);
    assert_eq!(rig.owed[0].records.len(), 400);
}

/// Syncs that fail several times in a row cost nothing, even if those of the moved copies fail: the
/// next one that works makes all of it durable.
#[test]
fn failures_in_a_row_cost_nothing() {
    for (times, power) in (1..6).flat_map(|times| [(times, false), (times, true)]) {
        let options = late(INTERVAL);
        let disk = SimDisk::new();
        let mut rig = Rig::new(disk.clone(), &options);
        rig.append(0, &[1500; 3]);
        fail(&disk, times, syncs);
        for _ in 0..times {
            // Records that are acknowledged in between are in other segments.
            drop(rig.logs[0].writer.sync());
            rig.append(0, &[700]);
        }
        disk.faults(None);
        assert!(rig.logs[0].writer.sync().is_ok());
        assert!(!rig.logs[0].writer.is_unsynced());
        let owed = rig.owed[0].records.clone();
        assert!(owed.len() > 3, "{owed:?}");
        if power {
            disk.lose_power(&mut |_| 0);
        } else {
            disk.kill();
        }
        is_there(&mut rig, &owed, &options);
    }
}

/// A write that fails leaves a segment with records that were acknowledged and not synced: the next
/// sync covers them, too.
#[test]
fn a_failed_write_leaves_nothing_unsynced() {
    let options = late(INTERVAL);
    let disk = SimDisk::new();
    let mut rig = Rig::new(disk.clone(), &options);
    rig.append(0, &[1000; 3]);
    fail(&disk, 1, writes);
    assert_eq!(rig.append(0, &[1000]), 0);
    fail(&disk, 2, writes);
    assert_eq!(rig.append(0, &[1000]), 1);
    disk.faults(None);
    assert!(rig.logs[0].writer.is_unsynced());
    assert!(rig.logs[0].writer.sync().is_ok());
    let owed = rig.owed[0].records.clone();
    disk.lose_power(&mut |_| 0);
    is_there(&mut rig, &owed, &options);
}

fn live(seed: u64) {
    let mut random = StdRng::seed_from_u64(seed);
    let sync = [INTERVAL, Sync::None][random.random_range(0..2)];
    let options = late(sync);
    let disk = SimDisk::new();
    let mut rig = Rig::new(disk.clone(), &options);
    let (odds, mut chance) = (random.random_range(0.0..0.4), StdRng::seed_from_u64(!seed));
    disk.faults(Some(Box::new(move |call| {
        let fault = (syncs(call) || writes(call)) && chance.random_bool(odds);
        fault.then_some(ErrorKind::Other)
    })));
    let mut durable = BTreeMap::new();
    for _ in 0..random.random_range(1..40) {
        match random.random_range(0..10) {
            0..5 => {
                let count = random.random_range(1..6);
                let lengths = (0..count).map(|_| random.random_range(16..3000));
                rig.append(0, &lengths.collect::<Vec<usize>>());
            }
            5 => {
                let numbers: Vec<u64> = rig.owed[0].records.keys().copied().collect();
                for number in numbers {
                    if random.random_bool(0.3) {
                        rig.finish(0, number);
                        durable.remove(&number);
                    }
                }
            }
            6 => rig.allocate(0),
            7 => rig.tick(0),
            _ => {
                if rig.logs[0].writer.sync().is_ok() {
                    assert!(!rig.logs[0].writer.is_unsynced());
                    durable = rig.owed[0].records.clone();
                }
            }
        }
    }
    disk.faults(None);
    if random.random_bool(0.5) {
        disk.kill();
        rig.reopen(&options);
    } else {
        disk.lose_power(&mut |changes| random.random_range(0..=changes));
        is_there(&mut rig, &durable, &options);
    }
}

/// Writes and syncs may fail at random moments of a journal that acknowledges first. The death of
/// the process then loses nothing, and a power failure loses nothing that a sync reported as
/// durable.
#[test]
fn late_syncs_keep_what_they_say() {
    for seed in seeds(300) {
        let lived = std::panic::catch_unwind(|| live(seed));
        assert!(lived.is_ok(), "SPANDREL_SEED={seed} runs it again");
    }
}
