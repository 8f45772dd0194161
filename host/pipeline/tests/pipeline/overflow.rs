//! Tests of overflow: the exporters of a pipeline, and the pipelines of a receiver, are
//! independent. One without room loses only its own part, in its own books; if one must not lose
//! anything, the sender is told.

mod chaos;
mod pipelines;

use std::sync::Arc;
use std::time::Duration;

use spandrel_pipeline::egress::ExporterSpec;
use spandrel_pipeline::ledger::{Books, ExporterBooks};
use spandrel_pipeline::pipeline::{AckOn, Pipeline};
use spandrel_pipeline::queue::OnFull;
use spandrel_pipeline::refused::Refused;
use tokio::time::{Instant, sleep, timeout};

use crate::edges::*;

const SECOND: Duration = Duration::from_secs(1);

/// Makes an exporter to a dead backend, with room for two requests.
fn dead() -> ExporterSpec {
    ExporterSpec {
        name: "dead".to_owned(),
        ..exporter(&Backend::new([Reaction::Hang]), 2)
    }
}

fn healthy(backend: &Arc<Backend>) -> ExporterSpec {
    ExporterSpec {
        name: "healthy".to_owned(),
        ..exporter(backend, 1000)
    }
}

/// Returns the column of an exporter.
fn column(books: &Books, name: &str) -> ExporterBooks {
    let mut columns = books.exporters.iter();
    columns.find(|column| column.name == name).unwrap().clone()
}

/// With a dead backend beside a healthy one, the healthy one gets everything; the dead one's part
/// waits and is then dropped for it alone.
#[tokio::test(start_paused = true)]
async fn a_dead_backend_starves_nobody() {
    let backend = Backend::new([]);
    let exporters = vec![dead(), healthy(&backend)];
    let pipeline = Pipeline::build(config(vec![], exporters)).await.unwrap();
    for id in 0..100 {
        offer(&pipeline, spans([id, id + 1000])).await.unwrap();
        assert!(pipeline.ledger().books().is_balanced());
    }
    sleep(SECOND).await;
    assert_eq!(backend.taken().len(), 200);
    let books = pipeline.ledger().books();
    let lost = column(&books, "dead");
    assert_eq!((lost.queued, lost.overflowed), (4, 196));
    assert_eq!(lost.enqueue_failed, 196);
    let all = column(&books, "healthy");
    assert_eq!((all.sent, all.overflowed, all.enqueue_failed), (200, 0, 0));
    drain(pipeline).await;
}

/// With `on_full: refuse` the sender is told if this exporter has no room, and only then: another
/// one that may overflow alone does so beside it.
#[tokio::test(start_paused = true)]
async fn who_must_not_lose_has_the_sender_told() {
    let backend = Backend::new([]);
    let mut strict = dead();
    strict.name = "strict".to_owned();
    strict.queue.queue_size = 5;
    strict.queue.on_full = OnFull::Refuse;
    let exporters = vec![dead(), strict, healthy(&backend)];
    let pipeline = Pipeline::build(config(vec![], exporters)).await.unwrap();
    for id in 0..5 {
        offer(&pipeline, spans([id])).await.unwrap();
    }
    let refused = offer(&pipeline, spans([5])).await.unwrap_err();
    assert!(matches!(refused, Refused::Full { .. }), "{refused}");
    let books = pipeline.ledger().books();
    assert_eq!((books.refused, books.forwarded), (1, 5));
    let figures = |name| {
        let column = column(&books, name);
        (column.queued + column.sent, column.overflowed)
    };
    assert_eq!(figures("dead"), (2, 3));
    assert_eq!(figures("strict"), (5, 0));
    assert_eq!(figures("healthy"), (5, 0));
    drain(pipeline).await;
}

/// If no exporter has room, the sender is told: nothing is lost that it could send again.
#[tokio::test(start_paused = true)]
async fn when_nobody_has_room_the_sender_is_told() {
    let mut second = dead();
    second.name = "second".to_owned();
    second.queue.queue_size = 3;
    let pipeline = Pipeline::build(config(vec![], vec![dead(), second]));
    let pipeline = pipeline.await.unwrap();
    for id in 0..3 {
        offer(&pipeline, spans([id])).await.unwrap();
    }
    let refused = offer(&pipeline, spans([3])).await.unwrap_err();
    assert!(matches!(refused, Refused::Full { .. }), "{refused}");
    let books = pipeline.ledger().books();
    assert_eq!((books.refused, column(&books, "dead").overflowed), (1, 1));
    drain(pipeline).await;
}

/// If a sender's OK means that every backend has the batch, no exporter overflows alone.
#[tokio::test(start_paused = true)]
async fn with_ack_on_export_nobody_overflows_alone() {
    let backend = Backend::new([]);
    let mut config = config(vec![], vec![dead(), healthy(&backend)]);
    config.ack_on = AckOn::Export;
    let pipeline = Pipeline::build(config).await.unwrap();
    for id in 0..2 {
        let offered = timeout(SECOND, offer(&pipeline, spans([id]))).await;
        assert!(offered.is_err(), "the dead one has not got it");
    }
    let refused = offer(&pipeline, spans([2])).await.unwrap_err();
    assert!(matches!(refused, Refused::Full { .. }), "{refused}");
    drain(pipeline).await;
    assert_eq!(backend.taken(), [0, 1]);
}

/// With `block_on_overflow` the sender waits for the exporter that has no room, and the others get
/// its batch at once; room that becomes free in time is used, in order.
#[tokio::test(start_paused = true)]
async fn a_queue_that_blocks_holds_only_the_sender() {
    let (slow, backend) = (
        Backend::new([Reaction::TakeAfter(10 * SECOND)]),
        Backend::new([]),
    );
    let mut blocks = exporter(&slow, 1);
    blocks.queue.block_on_overflow = true;
    let exporters = vec![blocks, healthy(&backend)];
    let pipeline = Pipeline::build(config(vec![], exporters)).await.unwrap();
    offer(&pipeline, spans([0])).await.unwrap();
    let started = Instant::now();
    let waits = async {
        tokio::join!(
            offer(&pipeline, spans([1])),
            offer(&pipeline, spans([2])),
            async {
                sleep(SECOND).await;
                assert_eq!(backend.taken(), [0, 1, 2]);
            }
        )
    };
    let (first, second, ()) = waits.await;
    first.unwrap();
    second.unwrap();
    assert_eq!(started.elapsed().as_secs(), 20);
    sleep(11 * SECOND).await;
    assert_eq!(*slow.requests.lock().unwrap(), [[0], [1], [2]]);
    let books = pipeline.ledger().books();
    assert_eq!((books.refused, books.exporters[0].overflowed), (0, 0));
    drain(pipeline).await;
}

/// A batch that finds no room in 30 s is dropped only for the exporter that blocks; its sender gets
/// its OK, because another exporter has the batch.
#[tokio::test(start_paused = true)]
async fn a_queue_that_blocks_does_so_for_a_while() {
    let backend = Backend::new([]);
    let mut blocks = dead();
    blocks.queue.block_on_overflow = true;
    let exporters = vec![blocks, healthy(&backend)];
    let pipeline = Pipeline::build(config(vec![], exporters)).await.unwrap();
    for id in 0..2 {
        offer(&pipeline, spans([id])).await.unwrap();
    }
    let started = Instant::now();
    offer(&pipeline, spans([2])).await.unwrap();
    assert_eq!(started.elapsed().as_secs(), 30);
    sleep(Duration::from_millis(1)).await;
    let books = pipeline.ledger().books();
    assert_eq!(column(&books, "dead").overflowed, 1);
    drain(pipeline).await;
    assert_eq!(backend.taken(), [0, 1, 2]);
}

/// Batches that wait are bounded even if their senders do not wait for the answer.
#[tokio::test(start_paused = true)]
async fn what_waits_is_bounded_without_senders() {
    let backend = Backend::new([]);
    let mut blocks = dead();
    blocks.queue.block_on_overflow = true;
    let exporters = vec![blocks, healthy(&backend)];
    let pipeline = Pipeline::build(config(vec![], exporters)).await.unwrap();
    let mib = |id: u64| spans(id * 20_000..(id + 1) * 20_000);
    let size = mib(0).len();
    assert!(size > 1 << 19, "{size}");
    for id in 0..100 {
        // This sender hangs up at once, or is answered at once.
        drop(timeout(Duration::from_millis(1), offer(&pipeline, mib(id))).await);
    }
    sleep(SECOND).await;
    let bytes = pipeline.queues()[0].bytes;
    assert!(bytes <= 3 * size + (32 << 20), "{bytes}");
    let books = pipeline.ledger().books();
    assert!(
        books.is_balanced() && books.exporters[0].overflowed > 0,
        "{books}"
    );
    assert_eq!(books.refused, 0, "the healthy one has them");
    assert_eq!(column(&books, "healthy").sent, 100 * 20_000);
    sleep(60 * SECOND).await;
    let (bytes, books) = (pipeline.queues()[0].bytes, pipeline.ledger().books());
    assert!(bytes <= 3 * size, "nothing waits any more: {bytes}");
    assert_eq!(books.exporters[0].queued, 2 * 20_000);
    drain(pipeline).await;
}

/// Items that plugins release go to every exporter with room; the dead backend's part waits, and
/// nothing else waits for it.
#[tokio::test(start_paused = true)]
async fn what_plugins_release_waits_for_nobody() {
    let backend = Backend::new([]);
    let stages = vec![holding(Some(SECOND))];
    let exporters = vec![dead(), healthy(&backend)];
    let pipeline = Pipeline::build(config(stages, exporters)).await.unwrap();
    for id in 0..50 {
        offer(&pipeline, spans([id])).await.unwrap();
        sleep(SECOND).await;
    }
    sleep(SECOND).await;
    assert_eq!(backend.taken().len(), 50);
    sleep(30 * SECOND).await;
    let lost = column(&pipeline.ledger().books(), "dead");
    assert_eq!((lost.queued, lost.overflowed), (2, 48));
    drain(pipeline).await;
}

/// A drain also sends the batches that wait.
#[tokio::test(start_paused = true)]
async fn what_waits_comes_through_a_drain() {
    let (slow, backend) = (
        Backend::new([Reaction::TakeAfter(4 * SECOND)]),
        Backend::new([]),
    );
    let mut blocks = exporter(&slow, 1);
    blocks.queue.block_on_overflow = true;
    let exporters = vec![blocks, healthy(&backend)];
    let pipeline = Pipeline::build(config(vec![], exporters)).await.unwrap();
    let senders = (0..4).map(|id| timeout(SECOND, offer(&pipeline, spans([id]))));
    let answers = futures_util::future::join_all(senders).await;
    let waits = answers.iter().filter(|answer| answer.is_err()).count();
    assert_eq!(waits, 3);
    // Two batches wait for the exporter, one waits for the drain.
    let last = offer(&pipeline, spans([4]));
    let drained = async {
        sleep(SECOND).await;
        pipeline.close();
    };
    let (answer, ()) = tokio::join!(last, drained);
    answer.expect("it is in");
    assert!(drain(pipeline).await.in_time);
    assert_eq!(slow.taken(), [0, 1, 2, 3, 4]);
}
