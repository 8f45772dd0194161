//! Tests of a backend that is unavailable for longer than memory should be used for.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use spandrel_pipeline::egress::ExporterSpec;
use spandrel_pipeline::pipeline::{Pipeline, PipelineConfig};
use spandrel_pipeline::refused::Refused;
use spandrel_pipeline::stage::{Manifest, Reply, StageSpec};
use tokio::time::{Instant, sleep};

use super::{build, kill, on};
use crate::disk::Disk;
use crate::edges::*;

/// A plugin that counts the spans that it sees.
fn counting(seen: &Arc<AtomicUsize>) -> StageSpec {
    let seen = Arc::clone(seen);
    stage(Manifest::default(), move |_| {
        let seen = Arc::clone(&seen);
        move |call| {
            if let Call::Process(_, batch) = call {
                seen.fetch_add(ids(batch).len(), Ordering::Relaxed);
            }
            Ok(Reply::default())
        }
    })
}

/// Makes a request with this many spans, of about 20 bytes each.
fn large(first: u64, spans_in_it: u64) -> Bytes {
    spans(first..first + spans_in_it)
}

fn memory(pipeline: &Pipeline) -> usize {
    pipeline.queues().iter().map(|queue| queue.bytes).sum()
}

/// During an hour without a backend every sender is answered, memory stays bounded, nothing stays
/// in the ingress log for longer than it waits in memory, and plugins see each span once. In the
/// end all of it arrives, in a fraction of the time.
#[tokio::test(start_paused = true)]
async fn an_hour_without_a_backend() {
    const SPANS: u64 = 1000;
    let (disk, backend) = (Disk::default(), Backend::new([Reaction::Busy]));
    let seen = Arc::new(AtomicUsize::new(0));
    let pipeline = build(&disk, vec![counting(&seen)], &backend).await;
    let (mut offered, mut most) = (0, 0);
    let outage = Instant::now();
    while outage.elapsed() < Duration::from_secs(3600) {
        for _ in 0..4 {
            offer(&pipeline, large(offered, SPANS)).await.unwrap();
            offered += SPANS;
        }
        sleep(Duration::from_secs(10)).await;
        most = most.max(memory(&pipeline));
        let books = pipeline.ledger().books();
        assert!(books.is_balanced(), "{books}");
        assert!(books.exporters[0].on_disk + books.exporters[0].queued == offered);
    }
    assert!(most <= 33 << 20, "{most} bytes in memory");
    let queued = pipeline.ledger().books().exporters[0].queued;
    assert_eq!(disk.ingress().len() as u64, queued, "the rest is finished");
    assert!(queued < offered / 2, "{queued} of {offered} in memory");
    backend.react(Reaction::TakeAfter(Duration::from_millis(20)));
    let back = Instant::now();
    while !pipeline.ledger().books().is_settled() || pipeline.ledger().books().kept_on_disk() > 0 {
        sleep(Duration::from_secs(1)).await;
        assert!(
            back.elapsed() < Duration::from_secs(360),
            "{}",
            pipeline.ledger()
        );
    }
    assert_eq!(seen.load(Ordering::Relaxed) as u64, offered);
    assert_eq!(backend.taken(), (0..offered).collect::<Vec<_>>());
    assert_eq!((disk.ingress(), disk.egress("backend")), (vec![], vec![]));
    drain(pipeline).await;
}

/// Makes a pipeline with a small queue, for a backend that is unavailable.
async fn away(disk: &Disk, stages: Vec<StageSpec>, backend: &Arc<Backend>) -> Pipeline {
    Pipeline::build(on(disk, stages, backend, 2)).await.unwrap()
}

/// Batches on the disk are there after a kill, arrive in order, and are not shown to a plugin
/// again.
#[tokio::test(start_paused = true)]
async fn a_backlog_outlives_the_process() {
    let (disk, backend) = (Disk::default(), Backend::new([Reaction::Busy]));
    let pipeline = away(&disk, vec![], &backend).await;
    for id in 0..20 {
        offer(&pipeline, spans([id])).await.unwrap();
        sleep(Duration::from_millis(60)).await;
    }
    assert_eq!(disk.egress("backend"), (2..20).collect::<Vec<_>>());
    disk.checkpoint();
    kill(&disk, pipeline).await;
    backend.react(Reaction::Take);
    let seen = Arc::new(AtomicUsize::new(0));
    let pipeline = away(&disk, vec![counting(&seen)], &backend).await;
    sleep(Duration::from_secs(1)).await;
    let books = pipeline.ledger().books();
    assert_eq!(
        (books.exporters[0].recovered, books.replayed),
        (18, 2),
        "{books}"
    );
    assert_eq!(seen.load(Ordering::Relaxed), 2);
    let arrived = backend.requests.lock().unwrap().concat();
    let backlog: Vec<u64> = arrived.into_iter().filter(|id| *id >= 2).collect();
    assert_eq!(backlog, (2..20).collect::<Vec<_>>());
    drain(pipeline).await;
}

/// A drain with a dead backend takes little time, whether the backend refuses or never answers: the
/// remaining batches are on the disk, and arrive with the next process.
#[tokio::test(start_paused = true)]
async fn a_drain_does_not_wait_for_a_dead_backend() {
    for dead in [Reaction::Busy, Reaction::Hang] {
        let (disk, backend) = (Disk::default(), Backend::new([dead]));
        let pipeline = build(&disk, vec![], &backend).await;
        for id in 0..50 {
            offer(&pipeline, spans([id])).await.unwrap();
        }
        sleep(Duration::from_secs(1)).await;
        let started = Instant::now();
        let drained = drain(pipeline).await;
        assert!(
            drained.in_time && started.elapsed() < Duration::from_secs(4),
            "{drained:?}"
        );
        assert_eq!((drained.kept, disk.ingress()), (50, vec![]));
        backend.react(Reaction::Take);
        let pipeline = build(&disk, vec![], &backend).await;
        sleep(Duration::from_secs(1)).await;
        assert_eq!(drain(pipeline).await.kept, 0);
        assert_eq!(backend.taken(), (0..50).collect::<Vec<_>>());
    }
}

/// A pipeline that is built again on open logs goes on with the batches that the one before it
/// left.
#[tokio::test(start_paused = true)]
async fn logs_outlive_their_pipeline() {
    let (disk, backend) = (Disk::default(), Backend::new([Reaction::Busy]));
    let first = on(&disk, vec![holding(None)], &backend, 1);
    let logs = first.durability.clone();
    let pipeline = Pipeline::build(first).await.unwrap();
    for id in 0..10 {
        offer(&pipeline, spans([id])).await.unwrap();
    }
    assert_eq!(drain(pipeline).await.kept, 10);
    let again = || PipelineConfig {
        durability: logs.clone(),
        ..config(vec![], vec![exporter(&backend, 1)])
    };
    let pipeline = Pipeline::build(again()).await.unwrap();
    sleep(Duration::from_millis(1)).await;
    drop(pipeline);
    backend.react(Reaction::Take);
    let pipeline = Pipeline::build(again()).await.unwrap();
    sleep(Duration::from_secs(60)).await;
    assert_eq!(backend.taken(), (0..10).collect::<Vec<_>>());
    assert_eq!(drain(pipeline).await.kept, 0);
}

/// If the exporter's log also refuses writes, a drain leaves everything in the ingress log.
#[tokio::test(start_paused = true)]
async fn a_drain_without_any_log_leaves_it_in_the_journal() {
    let (disk, backend) = (Disk::default(), Backend::new([Reaction::Busy]));
    disk.set(|condition| condition.egress_full = true);
    let pipeline = build(&disk, vec![], &backend).await;
    for id in 0..50 {
        offer(&pipeline, spans([id])).await.unwrap();
    }
    let ledger = Arc::clone(pipeline.ledger());
    let drained = drain(pipeline).await;
    assert!(drained.in_time, "{drained:?}");
    assert_eq!((drained.kept, disk.ingress().len()), (50, 50));
    let books = ledger.books();
    assert_eq!((books.exporters[0].journaled, books.abandoned()), (50, 0));
}

/// A log that refuses writes costs room, and nothing else: senders are refused once memory is full,
/// and everything with an OK arrives when the backend is back, even if the log still refuses
/// writes.
#[tokio::test(start_paused = true)]
async fn a_log_that_takes_nothing_costs_room() {
    let (disk, backend) = (Disk::default(), Backend::new([Reaction::Busy]));
    disk.set(|condition| condition.egress_full = true);
    let pipeline = away(&disk, vec![], &backend).await;
    let (mut accepted, mut next) = (Vec::new(), 0);
    let refused = loop {
        match offer(&pipeline, large(next, 20_000)).await {
            Ok(()) => accepted.extend(next..next + 20_000),
            Err(refused) => break refused,
        }
        next += 20_000;
        assert!(next < 4_000_000, "no bound");
    };
    assert!(matches!(refused, Refused::Full { .. }), "{refused}");
    assert!(memory(&pipeline) <= 33 << 20);
    backend.react(Reaction::Take);
    sleep(Duration::from_secs(60)).await;
    assert_eq!(backend.taken(), accepted);
    assert_eq!(disk.ingress(), []);
    drain(pipeline).await;
}

/// A log with little room fills up, holds senders off, and is emptied all the same.
#[tokio::test(start_paused = true)]
async fn a_small_log_is_emptied() {
    let (disk, backend) = (Disk::default(), Backend::new([Reaction::Busy]));
    disk.set(|condition| condition.egress_bytes = Some(500));
    let pipeline = away(&disk, vec![], &backend).await;
    for id in 0..40 {
        offer(&pipeline, spans([id])).await.unwrap();
    }
    sleep(Duration::from_secs(10)).await;
    backend.react(Reaction::Take);
    sleep(Duration::from_secs(60)).await;
    assert_eq!(backend.taken(), (0..40).collect::<Vec<_>>());
    assert_eq!((disk.ingress(), disk.egress("backend")), (vec![], vec![]));
    drain(pipeline).await;
}

fn named(name: &str, backend: &Arc<Backend>) -> ExporterSpec {
    ExporterSpec {
        name: name.to_owned(),
        ..exporter(backend, 2)
    }
}

/// A changed exporter goes on with the backlog of its name, and with the batches that its
/// predecessor could not send. The backlog of a removed exporter stays on the disk, and is there
/// when the name comes back.
#[tokio::test(start_paused = true)]
async fn a_backlog_belongs_to_the_name() {
    let (disk, dead) = (Disk::default(), Backend::new([Reaction::Busy]));
    let mut config = on(&disk, vec![], &dead, 2);
    config.exporters = vec![named("a", &dead)];
    let pipeline = Pipeline::build(config).await.unwrap();
    for id in 0..20 {
        offer(&pipeline, spans([id])).await.unwrap();
    }
    sleep(Duration::from_secs(1)).await;
    let other = Backend::new([]);
    pipeline
        .prepare_exporters(vec!["b".to_owned()])
        .await
        .unwrap();
    pipeline.set_exporters(vec![named("b", &other)]);
    sleep(Duration::from_secs(60)).await;
    assert_eq!(disk.egress("a"), (0..20).collect::<Vec<_>>());
    assert_eq!((disk.ingress(), other.taken()), (vec![], vec![]));
    offer(&pipeline, spans([20])).await.unwrap();
    let alive = Backend::new([]);
    pipeline.set_exporters(vec![named("a", &alive), named("b", &other)]);
    sleep(Duration::from_secs(60)).await;
    assert_eq!(alive.taken(), (0..20).collect::<Vec<_>>());
    assert_eq!(other.taken(), [20]);
    let books = pipeline.ledger().books();
    assert!(books.is_balanced() && books.is_settled(), "{books}");
    drain(pipeline).await;
}

/// Retries of a durable pipeline do not end by themselves, whatever the exporter's settings are.
#[tokio::test(start_paused = true)]
async fn retries_do_not_end() {
    let (disk, backend) = (Disk::default(), Backend::new([Reaction::Busy]));
    let mut config = on(&disk, vec![], &backend, 10);
    config.exporters[0].retry.enabled = false;
    let pipeline = Pipeline::build(config).await.unwrap();
    offer(&pipeline, spans([1])).await.unwrap();
    sleep(Duration::from_secs(7200)).await;
    backend.react(Reaction::Take);
    sleep(Duration::from_secs(60)).await;
    assert_eq!(backend.taken(), [1]);
    drain(pipeline).await;
}

/// Items that the backend permanently refuses are lost, counted, and finished: they do not come
/// again.
#[tokio::test(start_paused = true)]
async fn a_refusal_for_good_is_an_end() {
    let (disk, backend) = (
        Disk::default(),
        Backend::new([Reaction::Refuse, Reaction::Take]),
    );
    let pipeline = build(&disk, vec![], &backend).await;
    offer(&pipeline, spans([1])).await.unwrap();
    offer(&pipeline, spans([2])).await.unwrap();
    sleep(Duration::from_secs(1)).await;
    assert_eq!((disk.ingress(), backend.taken()), (vec![], vec![2]));
    assert_eq!(pipeline.ledger().books().exporters[0].failed, 1);
    drain(pipeline).await;
}

/// A damaged batch of a backlog is counted, and the rest arrives.
#[tokio::test(start_paused = true)]
async fn damage_in_a_backlog_is_counted() {
    let (disk, backend) = (Disk::default(), Backend::new([Reaction::Busy]));
    let pipeline = away(&disk, vec![], &backend).await;
    for id in 0..20 {
        offer(&pipeline, spans([id])).await.unwrap();
        sleep(Duration::from_millis(60)).await;
    }
    assert_eq!(disk.damage("backend", 5), [7]);
    backend.react(Reaction::Take);
    sleep(Duration::from_secs(60)).await;
    assert_eq!(backend.taken().len(), 19);
    assert_eq!(pipeline.ledger().books().exporters[0].failed, 1);
    assert_eq!((disk.ingress(), disk.egress("backend")), (vec![], vec![]));
    drain(pipeline).await;
}

/// One bad sector does not stop the records behind it, and is read again later.
#[tokio::test(start_paused = true)]
async fn a_bad_sector_is_passed_by() {
    let (disk, backend) = (Disk::default(), Backend::new([Reaction::Busy]));
    let pipeline = away(&disk, vec![], &backend).await;
    for id in 0..20 {
        offer(&pipeline, spans([id])).await.unwrap();
        sleep(Duration::from_millis(60)).await;
    }
    disk.set_unreadable("backend", 3, true);
    backend.react(Reaction::Take);
    sleep(Duration::from_secs(60)).await;
    assert_eq!(
        (backend.taken().len(), disk.egress("backend")),
        (19, vec![5])
    );
    disk.set_unreadable("backend", 0, false);
    sleep(Duration::from_secs(120)).await;
    assert_eq!(backend.taken(), (0..20).collect::<Vec<_>>());
    let books = pipeline.ledger().books();
    assert!(books.is_balanced() && books.kept_on_disk() == 0, "{books}");
    drain(pipeline).await;
}

/// Batches that are in a log for too long are given up and counted, whether they wait there or in
/// an attempt, and make room.
#[tokio::test(start_paused = true)]
async fn what_is_too_old_is_given_up() {
    let (disk, backend) = (Disk::default(), Backend::new([Reaction::Busy]));
    let pipeline = away(&disk, vec![], &backend).await;
    for id in 0..20 {
        offer(&pipeline, spans([id])).await.unwrap();
        sleep(Duration::from_millis(60)).await;
    }
    disk.checkpoint();
    kill(&disk, pipeline).await;
    let pipeline = away(&disk, vec![], &backend).await;
    sleep(Duration::from_secs(10)).await;
    disk.set(|condition| condition.expired = true);
    sleep(Duration::from_secs(400)).await;
    let books = pipeline.ledger().books();
    assert!(books.is_balanced(), "{books}");
    let exporter = &books.exporters[0];
    assert_eq!((exporter.expired, exporter.on_disk), (20, 0), "{books}");
    assert_eq!(disk.egress("backend"), []);
    disk.set(|condition| condition.expired = false);
    backend.react(Reaction::Take);
    offer(&pipeline, spans([20])).await.unwrap();
    sleep(Duration::from_secs(60)).await;
    assert_eq!((backend.taken(), disk.ingress()), (vec![20], vec![]));
    drain(pipeline).await;
}

/// Small batches are merged into few records, because a log keeps some data about each record in
/// memory.
#[tokio::test(start_paused = true)]
async fn small_batches_are_merged() {
    let (disk, backend) = (Disk::default(), Backend::new([Reaction::Busy]));
    let pipeline = away(&disk, vec![], &backend).await;
    for id in 0..5000 {
        offer(&pipeline, spans([id])).await.unwrap();
        sleep(Duration::from_millis(1)).await;
    }
    sleep(Duration::from_secs(1)).await;
    let records = disk.records("backend");
    assert!(records < 150, "{records} records");
    assert_eq!(disk.ingress().len(), 2);
    backend.react(Reaction::Take);
    sleep(Duration::from_secs(60)).await;
    assert_eq!(backend.taken(), (0..5000).collect::<Vec<_>>());
    assert_eq!((disk.ingress(), disk.egress("backend")), (vec![], vec![]));
    let books = pipeline.ledger().books();
    assert!(books.is_balanced() && books.is_settled(), "{books}");
    drain(pipeline).await;
}
