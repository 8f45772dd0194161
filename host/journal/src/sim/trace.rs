//! Tests that no record is acknowledged before its sync.

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use spandrel_pipeline::journal::Journal;
use tokio::task::JoinSet;

use super::disk::{Call, SimDisk};
use super::payload::payload;
use crate::options::Options;
use crate::store::Store;

/// The parts of each file that are not on the disk.
#[derive(Default)]
struct Unsynced {
    writes: HashMap<PathBuf, BTreeSet<(u64, u64)>>,
    entries: BTreeSet<PathBuf>,
}

impl Unsynced {
    fn see(&mut self, call: &Call) {
        match call {
            Call::Write(path, offset, length) => {
                let writes = self.writes.entry(path.clone()).or_default();
                writes.insert((*offset, offset + *length as u64));
            }
            Call::Allocate(path, length) => {
                let writes = self.writes.entry(path.clone()).or_default();
                writes.insert((0, *length));
            }
            Call::Sync(path) => drop(self.writes.remove(path)),
            Call::Create(path) | Call::CreateDir(path) => drop(self.entries.insert(path.clone())),
            Call::SyncDir(dir) => self.entries.retain(|path| path.parent() != Some(dir)),
            Call::Remove(_) | Call::Open(_) | Call::Read(_) => {}
        }
    }

    fn assert_synced(&self, path: &Path, start: u64, end: u64) {
        let writes = self.writes.get(path).into_iter().flatten();
        for (from, until) in writes {
            assert!(*until <= start || end <= *from, "OK before the sync");
        }
        for dir in path.ancestors() {
            assert!(
                !self.entries.contains(dir),
                "{} is not durable",
                dir.display()
            );
        }
    }
}

/// No sender gets OK before its sync. The real threads run over simulated files, with many senders
/// at once. When a sender gets OK, the bytes of its record, the header of its segment and every
/// directory entry on the way there are synced. The trace of calls shows it for each
/// acknowledgement. `SPANDREL_ACKS=1000000` is the long form.
#[tokio::test(flavor = "multi_thread")]
async fn no_ok_before_its_sync() {
    let acks = std::env::var("SPANDREL_ACKS").map_or(10_000, |acks| acks.parse().unwrap());
    let disk = SimDisk::new();
    let unsynced = Arc::new(Mutex::new(Unsynced::default()));
    let watched = Arc::clone(&unsynced);
    disk.watch(Box::new(move |call| watched.lock().unwrap().see(call)));
    let options = Options {
        segment_bytes: 64 << 10,
        // Finished records make room ten times a second, and these files take more than a usual
        // disk does in that time.
        max_bytes: 1 << 30,
        ..Options::new("/journal/traces")
    };
    let (store, _) = Store::open_on(Arc::new(disk), options).unwrap();
    let mut senders = JoinSet::new();
    const SENDERS: u64 = 16;
    for sender in 0..SENDERS {
        let (store, unsynced) = (Arc::clone(&store), Arc::clone(&unsynced));
        senders.spawn(async move {
            let log = store.ingress();
            for sent in 0..acks / SENDERS {
                let length = 16 + 13 * usize::try_from(sent % 100).unwrap();
                let batch = payload(sent * SENDERS + sender, length);
                let end = 48 + batch.len() as u64;
                let number = log.append(batch, 1).await.expect("room");
                let (entry, path, size) = {
                    let segments = store.ingress_log().segments();
                    let index = segments.index();
                    let (entry, segment) = index.locate(number).unwrap();
                    (entry, segments.path(entry.segment), segment.size)
                };
                let unsynced = unsynced.lock().unwrap();
                unsynced.assert_synced(&path, entry.offset, entry.offset + end);
                unsynced.assert_synced(&path, 0, 512);
                unsynced.assert_synced(&path, size - 512, size);
                drop(unsynced);
                log.finish(number);
            }
        });
    }
    while let Some(sent) = senders.join_next().await {
        sent.unwrap();
    }
    let counters = store.counters();
    assert_eq!(counters.records, acks / SENDERS * SENDERS);
    assert!(counters.syncs <= counters.records);
    store.close().unwrap();
    assert!(store.ingress().append(payload(0, 16), 1).await.is_err());
}
