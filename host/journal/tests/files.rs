//! Tests of the journal on real files, with its threads.

#![expect(clippy::expect_used, reason = "a test fails by panicking")]

use std::collections::HashMap;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use spandrel_journal::{OpenError, Options, Store, Sync};
use spandrel_pipeline::journal::{AppendError, Journal, Log};
use tokio::task::JoinSet;

async fn append(log: &Arc<dyn Log>, bytes: Vec<u8>, items: u64) -> u64 {
    log.append(Bytes::from(bytes), items).await.expect("room")
}

/// Returns bytes that say which record they are, and how long.
fn batch(number: u64, length: usize) -> Vec<u8> {
    let number = number.to_le_bytes();
    number.iter().copied().cycle().take(length).collect()
}

/// Returns the bytes of the files in a directory. The journal may remove or rename a file
/// meanwhile: it counts once or not at all.
fn bytes_in(dir: &Path) -> u64 {
    let mut lengths = HashMap::new();
    let mut folders = vec![dir.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in folder.read_dir().expect("a directory") {
            let entry = entry.expect("an entry");
            let metadata = match entry.metadata() {
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                metadata => metadata.expect("metadata"),
            };
            if metadata.is_dir() {
                folders.push(entry.path());
            } else {
                lengths.insert(metadata.ino(), metadata.len());
            }
        }
    }
    lengths.values().sum()
}

/// Records that were acknowledged and not finished are there again, with their bytes, whether the
/// journal was closed or not, and however it syncs. Finished records are not there.
#[tokio::test]
async fn unfinished_records_are_there_again() {
    let interval = Sync::Interval(Duration::from_millis(1));
    let ways = [Sync::Group, interval, Sync::None];
    for (well, sync) in ways
        .into_iter()
        .flat_map(|sync| [(true, sync), (false, sync)])
    {
        let dir = tempfile::tempdir().unwrap();
        let options = Options {
            sync,
            ..Options::new(dir.path())
        };
        let (store, recovered) = Store::open(options.clone()).unwrap();
        assert!(recovered.ended_well());
        let log = store.ingress();
        for number in 0..100_u64 {
            assert_eq!(append(&log, batch(number, 1000), number).await, number);
        }
        for number in (0..100).filter(|number| number % 3 != 0) {
            log.finish(number);
        }
        log.set_attempts(vec![(3, 2)]).await.unwrap();
        if well {
            store.close().unwrap();
        }
        drop((log, store));
        let (store, recovered) = Store::open(options).unwrap();
        assert_eq!(recovered.ended_well(), well);
        assert_eq!(recovered.lost(), 0);
        let log = store.ingress();
        assert_eq!(log.first_new(), 100);
        let unfinished = log.unfinished(0, 1000);
        assert_eq!(unfinished.len(), 34);
        for (found, number) in unfinished.iter().zip((0..100).step_by(3)) {
            assert_eq!((found.record, found.items), (number, number));
            let tried = if number == 3 { 2 } else { u8::from(!well) };
            assert_eq!(found.attempts, tried);
            assert_eq!(log.read(number).await.unwrap(), batch(number, 1000));
        }
        assert!(log.read(1).await.is_err());
        assert_eq!(append(&log, vec![1], 1).await, 100);
    }
}

/// One process has the directory; another gets an error with the path and the process. The
/// directory is free again after a close.
#[tokio::test]
async fn a_directory_has_one_owner() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = Store::open(Options::new(dir.path())).unwrap();
    match Store::open(Options::new(dir.path())) {
        Err(OpenError::Locked { path, pid }) => {
            assert_eq!(
                (path.as_path(), pid),
                (dir.path(), Some(std::process::id()))
            );
        }
        other => panic!("{other:?}"),
    }
    let log = store.ingress();
    store.close().unwrap();
    assert!(Store::open(Options::new(dir.path())).is_ok());
    let refused = log.append(Bytes::from_static(b"late"), 1).await;
    assert!(matches!(refused, Err(AppendError::Closed)));
    assert!(log.set_attempts(vec![(0, 1)]).await.is_err());
}

/// A batch larger than a segment has a segment of its own, which goes with it.
#[tokio::test]
async fn a_large_batch_has_its_own_segment() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options {
        segment_bytes: 64 << 10,
        ..Options::new(dir.path())
    };
    let (store, _) = Store::open(options.clone()).unwrap();
    let log = store.ingress();
    append(&log, batch(0, 100), 1).await;
    append(&log, batch(1, 5 << 20), 1).await;
    append(&log, batch(2, 100), 1).await;
    drop((log, store));
    let (store, _) = Store::open(options).unwrap();
    let log = store.ingress();
    assert_eq!(log.read(1).await.unwrap(), batch(1, 5 << 20));
    assert_eq!(log.read(2).await.unwrap(), batch(2, 100));
    log.finish(1);
    while store.counters().disk_bytes > 1 << 20 {
        log.set_attempts(vec![]).await.unwrap();
    }
    assert!(bytes_in(dir.path()) < 1 << 20);
}

/// Segments are used again, however long the journal runs, and nothing of their earlier uses is
/// ever seen.
#[tokio::test(flavor = "multi_thread")]
async fn segments_are_used_again() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options {
        segment_bytes: 32 << 10,
        sync: Sync::None,
        ..Options::new(dir.path())
    };
    let mut expected = 0;
    for round in 0..10_u64 {
        let (store, recovered) = Store::open(options.clone()).unwrap();
        assert_eq!(recovered.lost(), 0);
        let log = store.ingress();
        let unfinished = log.unfinished(0, 100);
        let numbers: Vec<u64> = unfinished.iter().map(|found| found.record).collect();
        let owed: Vec<u64> = (expected..log.first_new()).collect();
        assert_eq!(numbers, owed);
        for number in owed {
            assert_eq!(log.read(number).await.unwrap(), batch(number, 900));
            log.finish(number);
        }
        for _ in 0..300 {
            let number = log.first_new() + store.counters().records;
            assert_eq!(append(&log, batch(number, 900), 1).await, number);
            // The last seven stay.
            if let Some(old) = number.checked_sub(7).filter(|old| *old >= log.first_new()) {
                log.finish(old);
                expected = old + 1;
            }
            if number % 20 == round {
                log.set_attempts(vec![(number, 1)]).await.unwrap();
            }
        }
        // If segments were not used again, the 270 KiB that went through in each round would add
        // up.
        assert!(store.counters().disk_bytes < 400 << 10);
        log.set_attempts(vec![]).await.unwrap();
    }
}

/// At `max_bytes` batches are refused as full. Finished records make room, and batches are taken
/// again by themselves. The files are never larger.
#[tokio::test(flavor = "multi_thread")]
async fn a_full_journal_goes_on_when_there_is_room() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options {
        max_bytes: 1 << 20,
        retry_after: Duration::from_millis(1),
        ..Options::new(dir.path())
    };
    let (store, _) = Store::open(options).unwrap();
    let log = store.ingress();
    let mut taken = 0;
    let refused = loop {
        match log.append(batch(taken, 10_000).into(), 1).await {
            Ok(number) => taken = number + 1,
            Err(refused) => break refused,
        }
    };
    assert!(matches!(refused, AppendError::Full { what: "max_bytes" }));
    assert!(taken > 40, "{taken}");
    assert!(bytes_in(dir.path()) <= 1 << 20);
    assert!(store.counters().full > 0);
    // The exporter's log still has room, and takes batches that are to leave the ingress log.
    let egress = store.egress("backend").unwrap();
    assert_eq!(append(&egress, batch(0, 10_000), 1).await, 0);
    for number in 0..taken / 2 {
        assert_eq!(log.read(number).await.unwrap(), batch(number, 10_000));
        log.finish(number);
    }
    let again = async {
        loop {
            if let Ok(number) = log.append(batch(taken, 10_000).into(), 1).await {
                break number;
            }
        }
    };
    let number = tokio::time::timeout(Duration::from_secs(30), again).await;
    assert_eq!(number.expect("room"), taken);
    assert!(bytes_in(dir.path()) <= 1 << 20);
}

/// Each exporter has a log of its own, and the logs that nobody asks for any more are named.
#[tokio::test]
async fn exporters_have_their_logs() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = Store::open(Options::new(dir.path())).unwrap();
    for (place, name) in (1..).zip(["otlp_grpc/a", "otlp_grpc/b", "../c"]) {
        let log = store.egress(name).unwrap();
        append(&log, batch(place, 50), place).await;
        assert_eq!(store.egress(name).unwrap().fill().items, place);
    }
    store.close().unwrap();
    drop(store);
    let (store, recovered) = Store::open(Options::new(dir.path())).unwrap();
    let exporters: Vec<Option<&str>> = recovered
        .logs
        .iter()
        .map(|log| log.exporter.as_deref())
        .collect();
    assert_eq!(
        exporters,
        [None, Some("../c"), Some("otlp_grpc/a"), Some("otlp_grpc/b")]
    );
    let log = store.egress("otlp_grpc/a").unwrap();
    assert_eq!(log.read(0).await.unwrap(), batch(1, 50));
    let orphans = store.orphans();
    assert_eq!(
        orphans,
        [("../c".to_owned(), 3), ("otlp_grpc/b".to_owned(), 2)]
    );
    store.close().unwrap();
    drop((store, log));
    let (_, recovered) = Store::open(Options::new(dir.path())).unwrap();
    assert!(recovered.ended_well());
    assert_eq!(recovered.logs.iter().map(|log| log.items).sum::<u64>(), 6);
}

/// Senders that go away leave no record behind that nobody would finish.
#[tokio::test(flavor = "multi_thread")]
async fn abandoned_appends_are_finished() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = Store::open(Options::new(dir.path())).unwrap();
    let log = store.ingress();
    let mut senders = JoinSet::new();
    for number in 0..200 {
        let append = log.append(batch(number, 1000).into(), 1);
        senders.spawn(async move { drop(tokio::time::timeout(Duration::ZERO, append).await) });
    }
    senders.join_all().await;
    // Everything that waited is answered before this one.
    let last = append(&log, batch(0, 10), 1).await;
    let left = log.unfinished(0, 1000);
    assert!(
        left.iter()
            .all(|found| found.record >= last.saturating_sub(1)),
        "{left:?}"
    );
}

/// A start with a backlog is fast: every record is read and checked. `SPANDREL_BACKLOG_MIB=1024` is
/// the long form.
#[tokio::test(flavor = "multi_thread")]
async fn a_backlog_opens_fast() {
    let mib = std::env::var("SPANDREL_BACKLOG_MIB").map_or(64, |mib| mib.parse().unwrap());
    let dir = tempfile::tempdir().unwrap();
    let options = Options {
        sync: Sync::None,
        ..Options::new(dir.path())
    };
    let (store, _) = Store::open(options.clone()).unwrap();
    let log = store.ingress();
    let bytes = Bytes::from(batch(7, 64 << 10));
    for _ in 0..mib * 16 {
        log.append(bytes.clone(), 90).await.expect("room");
    }
    drop((log, store));
    let (store, recovered) = Store::open(options).unwrap();
    let log = recovered.logs.first().expect("a log");
    assert_eq!((log.records, log.items), (mib * 16, mib * 16 * 90));
    assert_eq!(store.ingress().read(3).await.unwrap(), bytes);
    let elapsed = recovered.elapsed;
    assert!(elapsed < Duration::from_secs(5), "{mib} MiB in {elapsed:?}");
    let line = format!("{mib} MiB of backlog opened in {elapsed:?}\n");
    std::io::Write::write_all(&mut std::io::stderr(), line.as_bytes()).unwrap();
}
