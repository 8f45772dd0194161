//! Tests in which every call fails once, and for a while.

use std::collections::HashMap;
use std::io::ErrorKind;
use std::path::PathBuf;
use std::time::Duration;

use super::disk::{Call, SimDisk};
use super::rig::{Rig, options};
use crate::options::{Options, Sync};

/// Does work during which calls fail. Returns the number of batches that were refused.
fn work(rig: &mut Rig) -> usize {
    let mut refused = 0;
    for round in 0..6 {
        refused += rig.append(0, &[700, 1300, 900]);
        refused += rig.append(1, &[500]);
        let numbers: Vec<u64> = rig.owed[0].records.keys().copied().collect();
        for number in numbers.into_iter().filter(|number| number % 3 != round % 3) {
            rig.finish(0, number);
        }
        rig.allocate(0);
        rig.tick(0);
        rig.tick(1);
    }
    refused
}

/// Lets calls fail during the work. Returns true if the work came as far as the first of them.
fn fails(from: u64, until: u64, kind: ErrorKind, which: fn(&Call) -> bool) -> bool {
    let options = options();
    let disk = SimDisk::new();
    let mut rig = Rig::new(disk.clone(), &options);
    let mut calls = 0;
    let (told, came) = std::sync::mpsc::channel();
    disk.faults(Some(Box::new(move |call| {
        calls += u64::from(which(call));
        let fault = which(call) && (from..until).contains(&(calls - 1));
        if fault {
            told.send(()).unwrap();
        }
        fault.then_some(kind)
    })));
    work(&mut rig);
    let came = came.try_recv().is_ok();
    // Finishing and reading go on while no batch is taken; ingest resumes by itself.
    disk.faults(None);
    assert_eq!(work(&mut rig), 0, "ingest does not resume");
    rig.quota_holds(&options);
    disk.lose_power(&mut |_| 0);
    rig.reopen(&options);
    came
}

fn every_call_fails(kind: ErrorKind, which: fn(&Call) -> bool) {
    // Calls fail once, twice in a row, so that the second try fails as well, and for a long time.
    for length in [1, 2, 40] {
        let mut point = 0;
        while fails(point, point + length, kind, which) {
            point += 1;
        }
        assert!(point > 10, "only {point} calls");
    }
}

/// The disk may be full at each call that needs room: nothing acknowledged is lost, and batches are
/// taken again as soon as there is room.
#[test]
fn a_full_disk_is_survived() {
    every_call_fails(ErrorKind::StorageFull, Call::grows);
}

/// Each sync may fail: its segment is never synced again (the simulated disk checks that), batches
/// that were not acknowledged go to another segment, and nothing acknowledged is lost to a power
/// failure right after.
#[test]
fn failed_syncs_are_survived() {
    let syncs = |call: &Call| matches!(call, Call::Sync(_) | Call::SyncDir(_));
    every_call_fails(ErrorKind::Other, syncs);
}

/// Each write may fail half way.
#[test]
fn failed_writes_are_survived() {
    every_call_fails(ErrorKind::Other, |call| matches!(call, Call::Write(..)));
    every_call_fails(ErrorKind::Other, Call::changes);
}

/// A sync that fails moves the batches to another segment at once: their senders get OK.
#[test]
fn a_failed_sync_costs_nothing() {
    let disk = SimDisk::new();
    let mut rig = Rig::new(disk.clone(), &options());
    rig.append(0, &[100]);
    let mut left = 1;
    disk.faults(Some(Box::new(move |call| {
        let fault = left > 0 && matches!(call, Call::Sync(_));
        left -= u64::from(fault);
        fault.then_some(ErrorKind::Other)
    })));
    assert_eq!(rig.append(0, &[100, 200]), 0);
    disk.lose_power(&mut |_| 0);
    rig.reopen(&options());
    assert_eq!(rig.owed[0].records.len(), 3);
}

/// If the quota is used up, batches are refused as full, the records that are there can be read and
/// finished, and then there is room again.
#[test]
fn the_quota_is_kept() {
    let options = options();
    let mut rig = Rig::new(SimDisk::new(), &options);
    let mut refused = 0;
    while refused == 0 {
        refused = rig.append(0, &[1500]);
        rig.allocate(0);
        rig.tick(0);
        rig.quota_holds(&options);
    }
    // The exporter's log still has room.
    assert_eq!(rig.append(1, &[1500; 40]), 0);
    let owed = rig.owed[0].records.len();
    assert_eq!(super::rig::contents(&rig.logs[0]).len(), owed);
    assert!(owed > 400, "{owed}");
    // The room that is freed first makes up for what the exporter's log has taken.
    for number in 0..60 {
        rig.finish(0, number);
    }
    rig.tick(0);
    assert_eq!(rig.append(0, &[1500]), 0);
    rig.reopen(&options);
}

/// A full disk is not asked again and again to allocate the next segment; an append that needs one
/// asks.
#[test]
fn a_full_disk_is_left_alone() {
    let options = Options {
        retry_after: Duration::from_secs(60),
        ..options()
    };
    let disk = SimDisk::new();
    let mut rig = Rig::new(disk.clone(), &options);
    rig.append(0, &[100]);
    let (told, asked) = std::sync::mpsc::channel();
    disk.faults(Some(Box::new(move |call| {
        let full = matches!(call, Call::Allocate(..));
        full.then(|| told.send(()).unwrap());
        full.then_some(ErrorKind::StorageFull)
    })));
    for _ in 0..100 {
        rig.allocate(0);
    }
    assert_eq!(asked.try_iter().count(), 1);
    assert_eq!(rig.append(0, &[100]), 0);
}

/// The room that the ingress log leaves to the egress logs is several segments, however small a
/// journal is, and no log keeps one of them for later.
#[test]
fn several_exporters_have_room() {
    let options = options();
    let mut rig = Rig::new(SimDisk::new(), &options);
    while rig.append(0, &[3000]) == 0 {}
    let held = |rig: &Rig| rig.logs[1].segments.free().len();
    for _ in 0..20 {
        rig.append(1, &[6000]);
        rig.allocate(1);
        let numbers: Vec<u64> = rig.owed[1].records.keys().copied().collect();
        for number in numbers {
            rig.finish(1, number);
        }
        rig.tick(1);
        assert_eq!(held(&rig), 0);
    }
    let segment = options.segment_size();
    assert!(options.reserved_bytes() >= 4 * segment);
    rig.quota_holds(&options);
}

/// The exporter's log syncs before it acknowledges, whatever the ingress log does: the record that
/// a batch comes from is finished there.
#[test]
fn an_exporters_log_always_syncs() {
    for sync in [Sync::None, Sync::Interval(Duration::from_secs(1))] {
        let options = Options { sync, ..options() };
        let disk = SimDisk::new();
        let mut rig = Rig::new(disk.clone(), &options);
        assert_eq!(rig.append(1, &[500; 3]), 0);
        disk.lose_power(&mut |_| 0);
        rig.reopen(&options);
        assert_eq!(rig.owed[1].records.len(), 3);
    }
}

/// Fills the disk: calls that need more room fail, until something is removed.
fn fill(disk: &SimDisk) {
    let files = disk.files().into_iter();
    let mut lengths: HashMap<PathBuf, u64> = files
        .map(|(path, content)| (path, content.len() as u64))
        .collect();
    let mut free = 0;
    disk.faults(Some(Box::new(move |call| {
        let (path, end) = match call {
            Call::Create(path) => (path, 0),
            Call::Allocate(path, length) => (path, *length),
            Call::Write(path, offset, length) => (path, offset + *length as u64),
            Call::Remove(path) => {
                free += lengths.remove(path).unwrap_or_default();
                return None;
            }
            _ => return None,
        };
        let length = lengths.entry(path.clone()).or_default();
        let more = end.saturating_sub(*length);
        if more > free {
            return Some(ErrorKind::StorageFull);
        }
        free -= more;
        *length += more;
        None
    })));
}

/// On a full disk segments are given up, however many ranges of finished records the checkpoint for
/// that has: there is room for it from the start, or a segment that is not used makes some.
#[test]
fn a_full_disk_is_made_room_on() {
    for (batches, spare) in [(8000, false), (16_000, true)] {
        let options = Options {
            max_bytes: 64 << 20,
            segment_bytes: 256 << 10,
            ..options()
        };
        let disk = SimDisk::new();
        let mut rig = Rig::new(disk.clone(), &options);
        rig.tick(0);
        rig.tick(0);
        for _ in 0..batches / 100 {
            rig.append(0, &[16; 100]);
        }
        if spare {
            rig.allocate(0);
        }
        fill(&disk);
        let segments = rig.logs[0].segments.index().segment_count();
        for number in (0..batches).step_by(2) {
            rig.finish(0, number);
        }
        rig.tick(0);
        for number in (0..5000).filter(|number| number % 2 == 1) {
            rig.finish(0, number);
        }
        rig.tick(0);
        assert!(rig.logs[0].segments.index().segment_count() < segments);
        disk.lose_power(&mut |_| 0);
        disk.faults(None);
        rig.reopen(&options);
        assert_eq!(rig.owed[0].records.len() as u64, batches / 2 - 2500);
    }
}
