//! Tests of items that become too old while they wait.

use std::time::Duration;

use tokio::time::sleep;

use super::{build, kill};
use crate::disk::Disk;
use crate::edges::*;
use crate::gate::gated;

/// Runs a process that accepted this many batches, each of one span, and did not finish them.
async fn accepted(disk: &Disk, batches: u64) {
    let backend = Backend::new([]);
    let pipeline = build(disk, vec![holding(None)], &backend).await;
    for id in 0..batches {
        offer(&pipeline, spans([id])).await.unwrap();
    }
    kill(disk, pipeline).await;
}

/// Batches that wait for their turn after a start are given up once they are too old, while the
/// process runs; those that are in the stages go on.
#[tokio::test(start_paused = true)]
async fn what_waits_for_its_turn_grows_old() {
    const BATCHES: u64 = 3000;
    let (disk, backend) = (Disk::default(), Backend::new([]));
    accepted(&disk, BATCHES).await;
    let (stage, gate) = gated();
    let pipeline = build(&disk, vec![stage], &backend).await;
    sleep(Duration::from_secs(100)).await;
    assert_eq!(disk.ingress().len() as u64, BATCHES, "none is too old");
    disk.set(|condition| condition.expired = true);
    sleep(Duration::from_secs(100)).await;
    let there = disk.ingress();
    assert!(there.len() < 100, "{} are still there", there.len());
    gate.open();
    sleep(Duration::from_secs(1)).await;
    assert!(!backend.taken().is_empty());
    assert!(backend.taken().iter().all(|id| there.contains(id)));
    let books = pipeline.ledger().books();
    assert!(books.is_balanced() && books.is_settled(), "{books}");
    assert_eq!((drain(pipeline).await.kept, disk.ingress()), (0, vec![]));
}

/// The age of a batch in an exporter's queue counts from when it was accepted, not from its first
/// attempt: a queue in front of a dead backend is as old as the batches in it.
#[tokio::test(start_paused = true)]
async fn what_waits_in_a_queue_grows_old() {
    let (disk, backend) = (Disk::default(), Backend::new([Reaction::Busy]));
    accepted(&disk, 20).await;
    let pipeline = build(&disk, vec![], &backend).await;
    sleep(Duration::from_secs(60)).await;
    let books = pipeline.ledger().books();
    assert_eq!((books.exporters[0].queued, disk.ingress().len()), (20, 20));
    disk.set(|condition| condition.expired = true);
    sleep(Duration::from_secs(60)).await;
    let books = pipeline.ledger().books();
    assert_eq!(
        (books.exporters[0].expired, books.exporters[0].queued),
        (20, 0)
    );
    assert_eq!((drain(pipeline).await.kept, disk.ingress()), (0, vec![]));
}
