//! Every call fails once, and for a while.

use std::io::ErrorKind;

use super::disk::{Call, SimDisk};
use super::rig::{Rig, options};

/// Work during which calls fail. How many batches were refused.
fn work(rig: &mut Rig) -> usize {
    let mut refused = 0;
    for round in 0..6 {
        refused += rig.append(0, &[700, 1300, 900]);
        refused += rig.append(1, &[500]);
        let numbers: Vec<u64> = rig.owed[0].records.keys().copied().collect();
        for number in numbers.into_iter().filter(|number| number % 3 != round % 3) {
            rig.finish(0, number);
        }
        rig.prepare(0);
        rig.tick(0);
        rig.tick(1);
    }
    refused
}

/// Whether the work came as far as the call that was to fail.
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
    // Finishing and reading go on while nothing is taken; ingest resumes by itself.
    disk.faults(None);
    assert_eq!(work(&mut rig), 0, "ingest does not resume");
    rig.quota_holds(&options);
    disk.lose_power(&mut |_| 0);
    rig.reopen(&options);
    came
}

fn every_call_fails(kind: ErrorKind, which: fn(&Call) -> bool) {
    // Once, twice in a row, so that the second try fails as well, and for a long time.
    for length in [1, 2, 40] {
        let mut point = 0;
        while fails(point, point + length, kind, which) {
            point += 1;
        }
        assert!(point > 10, "only {point} calls");
    }
}

/// The disk is full at each call that needs room: nothing acknowledged is lost, and batches are
/// taken again as soon as there is room.
#[test]
fn a_full_disk_is_survived() {
    every_call_fails(ErrorKind::StorageFull, Call::grows);
}

/// Each sync fails: its segment is never synced again (the simulated disk sees to that), what was
/// not acknowledged goes to another, and nothing acknowledged is lost to a power failure right
/// after.
#[test]
fn failed_syncs_are_survived() {
    let syncs = |call: &Call| matches!(call, Call::Sync(_) | Call::SyncDir(_));
    every_call_fails(ErrorKind::Other, syncs);
}

/// Each write fails half way.
#[test]
fn failed_writes_are_survived() {
    every_call_fails(ErrorKind::Other, |call| matches!(call, Call::Write(..)));
    every_call_fails(ErrorKind::Other, Call::changes);
}

/// A sync that fails moves the batches to another segment at once: their senders hear OK.
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

/// With the quota used up batches are refused as full, what is there can be read and finished, and
/// then there is room again.
#[test]
fn the_quota_is_kept() {
    let options = options();
    let mut rig = Rig::new(SimDisk::new(), &options);
    let mut refused = 0;
    while refused == 0 {
        refused = rig.append(0, &[1500]);
        rig.prepare(0);
        rig.tick(0);
        rig.quota_holds(&options);
    }
    // The exporter's log has room still.
    assert_eq!(rig.append(1, &[1500; 40]), 0);
    let owed = rig.owed[0].records.len();
    assert_eq!(super::rig::contents(&rig.logs[0]).len(), owed);
    assert!(owed > 400, "{owed}");
    for number in 0..20 {
        rig.finish(0, number);
    }
    rig.tick(0);
    assert_eq!(rig.append(0, &[1500]), 0);
    rig.reopen(&options);
}
