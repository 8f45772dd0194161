//! Tests of several pipelines behind one receiver.

use spandrel_pipeline::ingress::{FanOut, Ingress};
use spandrel_pipeline::ledger::Overflow;
use spandrel_wire::Signal;

use super::*;
use crate::disk::Disk;
use crate::gate::gated;

async fn send(to: &FanOut, ids: impl IntoIterator<Item = u64>) -> Result<(), Refused> {
    let offered = to.offer(Signal::Traces, spans(ids)).await;
    offered.map(drop)
}

async fn to(exporter: ExporterSpec) -> Pipeline {
    Pipeline::build(config(vec![], vec![exporter]))
        .await
        .unwrap()
}

/// A pipeline whose backend is dead loses only its own part, in its own books.
#[tokio::test(start_paused = true)]
async fn a_dead_pipeline_starves_no_other() {
    let backend = Backend::new([]);
    let (one, other) = (to(dead()).await, to(healthy(&backend)).await);
    let receiver = Pipeline::fan_out([&one, &other]);
    for id in 0..100 {
        send(&receiver, [id]).await.unwrap();
    }
    sleep(SECOND).await;
    assert_eq!(backend.taken().len(), 100);
    let books = one.ledger().books();
    assert!(books.is_balanced(), "{books}");
    let lost = Overflow {
        queues: 98,
        shards: 0,
    };
    assert_eq!((books.overflowed, books.forwarded), (lost, 2));
    assert_eq!(books.exporters[0].enqueue_failed, 98);
    assert_eq!(other.ledger().books().overflowed, Overflow::default());
    assert_eq!(receiver.offered().accepted(Signal::Traces), 100);
    drain(one).await;
    drain(other).await;
}

/// A pipeline with an exporter that must not lose makes all refuse, and so does one with a journal
/// that refuses writes: no other pipeline has the batch then.
#[tokio::test(start_paused = true)]
async fn a_pipeline_that_must_not_lose_makes_all_refuse() {
    let backend = Backend::new([]);
    let mut strict = dead();
    strict.queue.on_full = OnFull::Refuse;
    let (strict, other) = (to(strict).await, to(healthy(&backend)).await);
    let receiver = Pipeline::fan_out([&other, &strict]);
    for id in 0..2 {
        send(&receiver, [id]).await.unwrap();
    }
    let refused = send(&receiver, [2]).await.unwrap_err();
    assert!(matches!(refused, Refused::Full { .. }), "{refused}");

    let (disk, kept) = (Disk::default(), Backend::new([]));
    let mut durable = config(vec![], vec![exporter(&kept, 10)]);
    durable.durability = Some(disk.open());
    let durable = Pipeline::build(durable).await.unwrap();
    receiver.redirect(&Pipeline::fan_out([&other, &durable]));
    disk.set(|condition| condition.ingress_full = true);
    let refused = send(&receiver, [3]).await.unwrap_err();
    assert!(matches!(refused, Refused::Unwritten { .. }), "{refused}");
    disk.set(|condition| condition.ingress_full = false);
    send(&receiver, [4]).await.unwrap();
    for pipeline in [strict, other, durable] {
        drain(pipeline).await;
    }
    assert_eq!((backend.taken(), kept.taken()), (vec![0, 1, 4], vec![4]));
}

/// If no pipeline has room, the sender is told, and each pipeline counts a refusal.
#[tokio::test(start_paused = true)]
async fn when_no_pipeline_has_room_the_sender_is_told() {
    let pipelines = [to(dead()).await, to(dead()).await];
    let receiver = Pipeline::fan_out(&pipelines);
    for id in 0..2 {
        send(&receiver, [id]).await.unwrap();
    }
    let refused = send(&receiver, [2]).await.unwrap_err();
    assert!(matches!(refused, Refused::Full { .. }), "{refused}");
    for pipeline in pipelines {
        let books = pipeline.ledger().books();
        assert_eq!((books.refused, books.overflowed.total()), (1, 0));
        drain(pipeline).await;
    }
    assert_eq!(receiver.offered().refused(Signal::Traces), 1);
}

/// One pipeline's `block_on_overflow` makes the sender wait, but no other pipeline's batch.
#[tokio::test(start_paused = true)]
async fn a_pipeline_that_blocks_holds_only_the_sender() {
    let backend = Backend::new([]);
    let mut blocks = dead();
    blocks.queue.block_on_overflow = true;
    let (blocks, other) = (to(blocks).await, to(healthy(&backend)).await);
    let receiver = Pipeline::fan_out([&blocks, &other]);
    for id in 0..2 {
        send(&receiver, [id]).await.unwrap();
    }
    let started = Instant::now();
    let (answer, ()) = tokio::join!(send(&receiver, [2]), async {
        sleep(SECOND).await;
        assert_eq!(backend.taken(), [0, 1, 2]);
    });
    answer.unwrap();
    assert_eq!(started.elapsed().as_secs(), 30);
    assert_eq!(blocks.ledger().books().overflowed.queues, 1);
    // A sender that does not wait that long sends again, so nothing is lost yet.
    assert!(timeout(SECOND, send(&receiver, [3])).await.is_err());
    let books = blocks.ledger().books();
    assert_eq!((books.refused, books.overflowed.queues), (1, 1));
    assert_eq!(receiver.offered().accepted(Signal::Traces), 4);
    drain(blocks).await;
    drain(other).await;
    assert_eq!(backend.taken(), [0, 1, 2, 3]);
}

/// If a change makes a pipeline one that must not lose anything while a request waits for its room,
/// the sender is told, as if the setting had been there from the start.
#[tokio::test(start_paused = true)]
async fn a_pipeline_that_must_not_lose_from_now_on_has_the_sender_told() {
    let backend = Backend::new([]);
    let mut spec = dead();
    spec.queue.block_on_overflow = true;
    let (changes, other) = (to(spec.clone()).await, to(healthy(&backend)).await);
    let receiver = Pipeline::fan_out([&changes, &other]);
    for id in 0..2 {
        send(&receiver, [id]).await.unwrap();
    }
    let (answer, ()) = tokio::join!(send(&receiver, [2]), async {
        sleep(SECOND).await;
        spec.queue.on_full = OnFull::Refuse;
        changes.set_exporters(vec![spec.clone()]);
    });
    let refused = answer.unwrap_err();
    assert!(matches!(refused, Refused::Full { .. }), "{refused}");
    let books = changes.ledger().books();
    assert_eq!((books.refused, books.overflowed.total()), (1, 0));
    drain(changes).await;
    drain(other).await;
}

/// A stuck stage holds its own pipeline: the others get their batches, and once the pipeline is
/// known to be stuck, at their own pace.
#[tokio::test(start_paused = true)]
async fn a_stuck_stage_holds_its_own_pipeline() {
    let (behind, backend) = (Backend::new([]), Backend::new([]));
    let (stage, gate) = gated();
    let stuck = config(vec![stage], vec![healthy(&behind)]);
    let stuck = Pipeline::build(stuck).await.unwrap();
    let other = to(healthy(&backend)).await;
    let receiver = Pipeline::fan_out([&stuck, &other]);
    // One is in the stage and eight are in the input of its shard: their senders wait for the
    // answer.
    for id in 0..9 {
        let sent = timeout(Duration::from_millis(10), send(&receiver, [id])).await;
        assert!(sent.is_err());
    }
    let started = Instant::now();
    for id in 9..100 {
        send(&receiver, [id]).await.unwrap();
    }
    let took = started.elapsed();
    assert!(took <= SECOND, "{took:?}");
    sleep(Duration::from_millis(1)).await;
    assert_eq!(backend.taken().len(), 100);
    let books = stuck.ledger().books();
    assert_eq!((books.overflowed.shards, books.chain), (91, 9));
    gate.open();
    sleep(SECOND).await;
    send(&receiver, [100]).await.unwrap();
    assert_eq!(stuck.ledger().books().overflowed.shards, 91);
    for pipeline in [stuck, other] {
        drain(pipeline).await;
    }
    assert_eq!(behind.taken().len(), 10);
    assert_eq!(backend.taken().len(), 101);
}

/// If a stuck pipeline is alone behind its receiver, the sender is told, after the time that a
/// burst may take to pass.
#[tokio::test(start_paused = true)]
async fn a_stuck_stage_alone_is_told() {
    let (stage, gate) = gated();
    let stuck = config(vec![stage], vec![healthy(&Backend::new([]))]);
    let stuck = Pipeline::build(stuck).await.unwrap();
    let receiver = Pipeline::fan_out([&stuck]);
    for id in 0..9 {
        drop(timeout(Duration::from_millis(10), send(&receiver, [id])).await);
    }
    for id in 9..11 {
        let started = Instant::now();
        let refused = send(&receiver, [id]).await.unwrap_err();
        assert!(matches!(refused, Refused::Full { .. }), "{refused}");
        assert_eq!(started.elapsed(), SECOND);
    }
    gate.open();
    drain(stuck).await;
}
