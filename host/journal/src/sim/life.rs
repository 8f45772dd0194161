//! Tests of what survives the death of the process, and of what expires.

use std::sync::Arc;
use std::time::Duration;

use spandrel_pipeline::journal::Journal;

use super::disk::{Call, SimDisk};
use super::payload::payload;
use super::rig::{Rig, contents, options};
use crate::options::{Options, Sync};
use crate::store::Store;

/// The number of attempts survives the death of the process. After a process that did not end well,
/// each record counts as tried at least once; after one that did, as often as was said.
#[test]
fn attempts_survive() {
    let options = options();
    let disk = SimDisk::new();
    let mut rig = Rig::new(disk.clone(), &options);
    rig.append(0, &[100, 100, 100, 100]);
    let attempts = |rig: &Rig| {
        let unfinished = rig.logs[0].segments.index().unfinished(0, 10);
        let attempts = unfinished.iter().map(|record| record.attempts);
        attempts.collect::<Vec<u8>>()
    };
    rig.logs[0].segments.index().set_attempts(&[(1, 1), (2, 2)]);
    rig.logs[0].checkpointer.write_unsynced().unwrap();
    disk.kill();
    rig.reopen(&options);
    assert_eq!(attempts(&rig), [1, 1, 2, 1]);
    assert!(!rig.logs[0].report.ended_well);
    rig.logs[0].segments.index().set_attempts(&[(0, 0), (2, 3)]);
    rig.append(0, &[100]);
    rig.close();
    rig.reopen(&options);
    assert!(rig.logs[0].report.ended_well);
    assert_eq!(attempts(&rig), [0, 1, 3, 1, 0]);
    // No attempts are kept for finished records.
    for number in 0..5 {
        rig.finish(0, number);
    }
    assert!(!rig.logs[0].segments.index().has_attempts());
}

/// A process that dies while it writes a checkpoint, or cannot write it, leaves the one before.
#[test]
fn half_a_checkpoint_is_none() {
    let options = options();
    let disk = SimDisk::new();
    let mut rig = Rig::new(disk.clone(), &options);
    rig.append(0, &[16; 500]);
    let tried = |rig: &mut Rig, times: u8| {
        let attempts: Vec<(u64, u8)> = (0..500).map(|number| (number, times)).collect();
        rig.logs[0].segments.index().set_attempts(&attempts);
        rig.logs[0].checkpointer.write_unsynced()
    };
    for times in 2..5 {
        tried(&mut rig, times).unwrap();
    }
    // Two thirds of the checkpoint are written.
    disk.faults(Some(Box::new(|call| match call {
        Call::Write(..) => Some(std::io::ErrorKind::Other),
        _ => None,
    })));
    assert!(tried(&mut rig, 5).is_err());
    disk.faults(None);
    disk.kill();
    rig.reopen(&options);
    let unfinished = rig.logs[0].segments.index().unfinished(0, 500);
    assert_eq!(unfinished.len(), 500);
    assert!(unfinished.iter().all(|record| record.attempts == 4));
}

/// Records that have expired are finished when the journal opens, and counted.
#[test]
fn old_records_expire() {
    let options = Options {
        max_age: Some(Duration::from_secs(60)),
        ..options()
    };
    let disk = SimDisk::new();
    let mut rig = Rig::new(disk.clone(), &options);
    rig.append(0, &[100, 100]);
    disk.pass(59);
    rig.append(0, &[100]);
    rig.close();
    disk.pass(2);
    let logs = super::rig::open(&disk, &options).unwrap();
    assert_eq!(contents(&logs[0]).into_keys().collect::<Vec<_>>(), [2]);
    assert_eq!((logs[0].report.expired, logs[0].report.lost), (2, 0));
    assert_eq!(logs[0].report.records, 1);
}

/// A clock that jumps makes nothing expire, whether it was behind when the records were written or
/// is behind now. No record is older than the one before it.
#[test]
fn a_clock_that_jumps_ends_nothing() {
    let options = Options {
        max_age: Some(Duration::from_secs(60)),
        ..options()
    };
    let disk = SimDisk::new();
    let mut rig = Rig::new(disk.clone(), &options);
    // A machine without a clock of its own starts like this.
    disk.set(1000);
    rig.append(0, &[100, 100]);
    rig.close();
    disk.set(1_800_000_000);
    rig.reopen(&options);
    assert_eq!(rig.owed[0].records.len(), 2);
    rig.append(0, &[100]);
    disk.set(1_800_000_000 - 3600);
    rig.append(0, &[100]);
    let written = |rig: &Rig| {
        let unfinished = rig.logs[0].segments.index().unfinished(2, 2);
        unfinished
            .iter()
            .map(|found| found.written)
            .collect::<Vec<_>>()
    };
    assert_eq!(written(&rig)[0], written(&rig)[1]);
    rig.reopen(&options);
    assert_eq!(rig.owed[0].records.len(), 4);
    disk.set(1_800_000_000 + 61);
    let logs = super::rig::open(&disk, &options).unwrap();
    assert_eq!(logs[0].report.expired, 2);
}

/// Records that wait for an exporter that no longer exists expire without another start, and their
/// room is free. Records of an exporter that exists are left to it.
#[tokio::test]
async fn what_nobody_has_expires() {
    let options = Options {
        max_age: Some(Duration::from_secs(60)),
        ..options()
    };
    let disk = SimDisk::new();
    let open = || {
        Store::open_on(Arc::new(disk.clone()), options.clone())
            .unwrap()
            .0
    };
    let store = open();
    for name in ["gone", "retired", "there"] {
        let log = store.egress(name).unwrap();
        for batch in 0..20 {
            log.append(payload(batch, 3000), 1).await.unwrap();
        }
    }
    store.close().unwrap();
    drop(store);
    let store = open();
    let there = store.egress("there").unwrap();
    drop(store.egress("retired").unwrap());
    let bytes = store.counters().disk_bytes;
    store.expire_unused();
    assert_eq!(store.orphans(), [("gone".to_owned(), 20)]);
    disk.pass(61);
    store.expire_unused();
    assert_eq!(store.orphans(), []);
    assert_eq!(store.egress("retired").unwrap().fill().records, 0);
    assert_eq!(there.fill().records, 20);
    assert!(store.counters().disk_bytes < bytes - 40_000);
}

/// With an interval, a record is acknowledged without a sync, which comes later. If that sync
/// fails, the records that it was to make durable are written once more, elsewhere.
#[test]
fn an_interval_acknowledges_early() {
    let options = Options {
        sync: Sync::Interval(Duration::from_secs(1)),
        ..options()
    };
    for fails in [false, true] {
        let disk = SimDisk::new();
        let mut rig = Rig::new(disk.clone(), &options);
        rig.append(0, &[1000; 3]);
        assert!(rig.logs[0].writer.is_unsynced());
        let mut left = u32::from(fails);
        disk.faults(Some(Box::new(move |call| {
            let fault = left > 0 && matches!(call, Call::Sync(_));
            left -= u32::from(fault);
            fault.then_some(std::io::ErrorKind::Other)
        })));
        assert!(rig.logs[0].writer.sync().is_ok());
        assert!(!rig.logs[0].writer.is_unsynced());
        // These go over the end of a segment, which is synced before it is left.
        rig.append(0, &[1000; 4]);
        rig.append(0, &[1000; 4]);
        rig.owed[0].records.retain(|number, _| *number < 6);
        rig.owed[0].possible.extend(6..11);
        disk.lose_power(&mut |_| 0);
        rig.logs.clear();
        let logs = super::rig::open(&disk, &options).unwrap();
        let found = contents(&logs[0]);
        for (number, id) in &rig.owed[0].records {
            assert_eq!(found.get(number), Some(id), "record {number} is lost");
        }
    }
}

/// Without syncs, the death of the process loses nothing, and the loss of a power failure is
/// reported.
#[test]
fn without_syncs_a_loss_is_counted() {
    let options = Options {
        sync: Sync::None,
        ..options()
    };
    let disk = SimDisk::new();
    let mut rig = Rig::new(disk.clone(), &options);
    rig.append(0, &[1000; 4]);
    disk.kill();
    rig.reopen(&options);
    assert_eq!(rig.owed[0].records.len(), 4);
    rig.append(0, &[1000; 3]);
    // The checkpoint reaches the disk, and the segment does not.
    rig.logs[0].checkpointer.write_synced(false).unwrap();
    disk.lose_power(&mut |_| 0);
    let logs = super::rig::open(&disk, &options).unwrap();
    assert_eq!(logs[0].report.lost, 3);
    assert_eq!(logs[0].segments.index().first_new_lsn(), 7);
    drop(logs);
    // The loss is counted once.
    let logs = super::rig::open(&disk, &options).unwrap();
    assert_eq!(logs[0].report.lost, 0);
}
