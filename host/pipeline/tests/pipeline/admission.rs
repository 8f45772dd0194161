use std::sync::Arc;
use std::time::Duration;

use spandrel_pipeline::ingress::Ingress as _;
use spandrel_pipeline::pipeline::{AckOn, Pipeline};
use spandrel_pipeline::queue::OnFull;
use spandrel_pipeline::refused::Refused;
use spandrel_pipeline::stage::{Dispatch, Manifest, Reply};
use spandrel_wire::Signal;
use tokio::time::Instant;

use crate::edges::*;

/// A full queue refuses a batch on arrival, before any plugin has seen the batch, and never grows.
#[tokio::test(start_paused = true)]
async fn a_full_queue_refuses_at_the_door() {
    let backend = Backend::new([Reaction::Hang]);
    let keep = stage(Manifest::default(), |_| |_| Ok(Reply::default()));
    let pipeline = Pipeline::build(config(vec![keep], vec![exporter(&backend, 3)]))
        .await
        .unwrap();
    for id in 0..3 {
        offer(&pipeline, spans([id])).await.unwrap();
    }
    let refused = offer(&pipeline, spans([3, 4])).await.unwrap_err();
    assert!(matches!(refused, Refused::Full { .. }), "{refused}");
    let books = pipeline.ledger().books();
    assert_eq!(
        (books.received, books.refused, books.stages[0].input),
        (5, 2, 3)
    );
    assert_eq!(books.exporters[0].enqueue_failed, 2);
    assert_eq!(pipeline.queues()[0].size, 3);
    assert!(books.is_balanced());
}

/// With `block_on_overflow` a sender waits for room and then gets its OK.
#[tokio::test(start_paused = true)]
async fn overflow_can_wait_for_room() {
    let backend = Backend::new([Reaction::TakeAfter(Duration::from_secs(3))]);
    let mut spec = exporter(&backend, 1);
    spec.queue.block_on_overflow = true;
    let pipeline = Pipeline::build(config(vec![], vec![spec])).await.unwrap();
    let started = Instant::now();
    for id in 0..3 {
        offer(&pipeline, spans([id])).await.unwrap();
    }
    assert_eq!(started.elapsed().as_secs(), 6);
    drain(pipeline).await;
    assert_eq!(backend.taken(), [0, 1, 2]);
}

/// A sender that waits for room is told to go elsewhere as soon as the drain begins.
#[tokio::test(start_paused = true)]
async fn waiting_senders_are_answered_when_draining() {
    let backend = Backend::new([Reaction::Hang]);
    let mut spec = exporter(&backend, 1);
    spec.queue.block_on_overflow = true;
    let pipeline = Pipeline::build(config(vec![], vec![spec])).await.unwrap();
    offer(&pipeline, spans([0])).await.unwrap();
    let waiting = offer(&pipeline, spans([1]));
    tokio::pin!(waiting);
    assert!(
        tokio::time::timeout(Duration::from_secs(1), &mut waiting)
            .await
            .is_err()
    );
    pipeline.close();
    assert!(matches!(waiting.await, Err(Refused::Draining)));
    assert!(matches!(
        offer(&pipeline, spans([2])).await,
        Err(Refused::Draining)
    ));
}

/// A sender that hangs up while it waits leaves nothing behind except a refusal.
#[tokio::test(start_paused = true)]
async fn a_sender_that_hangs_up_is_refused() {
    let backend = Backend::new([Reaction::Hang]);
    let mut spec = exporter(&backend, 1);
    spec.queue.block_on_overflow = true;
    let pipeline = Pipeline::build(config(vec![], vec![spec])).await.unwrap();
    offer(&pipeline, spans([0])).await.unwrap();
    let hung_up =
        tokio::time::timeout(Duration::from_secs(1), offer(&pipeline, spans([1, 2]))).await;
    assert!(hung_up.is_err());
    let books = pipeline.ledger().books();
    assert_eq!(
        (books.received, books.refused, books.abandoned()),
        (3, 2, 0)
    );
    assert!(books.is_balanced());
}

/// A receiver counts items that were let in as accepted, even if the sender did not wait for the
/// answer. It counts items as refused if they were refused, or if the sender left before they were
/// let in. An invalid request has no items.
#[tokio::test(start_paused = true)]
async fn receivers_count_what_they_offer() {
    let backend = Backend::new([Reaction::Hang]);
    let mut spec = exporter(&backend, 2);
    spec.queue.block_on_overflow = true;
    let mut config = config(vec![], vec![spec]);
    config.ack_on = AckOn::Export;
    let pipeline = Pipeline::build(config).await.unwrap();
    let ingress = pipeline.ingress();
    let second = Duration::from_secs(1);
    for (ids, expected) in [(0..2, (2, 0)), (2..5, (5, 0)), (5..9, (5, 4))] {
        let offered = ingress.offer(Signal::Traces, spans(ids));
        assert!(tokio::time::timeout(second, offered).await.is_err());
        let counters = ingress.offered();
        let counted = (
            counters.accepted(Signal::Traces),
            counters.refused(Signal::Traces),
        );
        assert_eq!(counted, expected);
    }
    pipeline.close();
    ingress.offer(Signal::Traces, spans([9])).await.unwrap_err();
    let garbage = bytes::Bytes::from_static(b"\x0a\xff\xff");
    ingress.offer(Signal::Traces, garbage).await.unwrap_err();
    let counters = ingress.offered();
    assert_eq!(counters.accepted(Signal::Traces), 5);
    assert_eq!(counters.refused(Signal::Traces), 5);
    assert_eq!(counters.refused(Signal::Logs), 0);
}

/// An empty request is accepted, and garbage is refused permanently; neither changes the item
/// counts.
#[tokio::test]
async fn empty_is_fine_and_garbage_is_not() {
    let backend = Backend::new([]);
    let pipeline = Pipeline::build(config(vec![], vec![exporter(&backend, 3)]))
        .await
        .unwrap();
    offer(&pipeline, bytes::Bytes::new()).await.unwrap();
    offer(&pipeline, spans([])).await.unwrap();
    let refused = offer(&pipeline, bytes::Bytes::from_static(b"\x0a\xff\xff"))
        .await
        .unwrap_err();
    assert!(matches!(refused, Refused::Invalid(_)));
    let books = pipeline.ledger().books();
    assert_eq!((books.received, books.invalid_requests), (0, 1));
}

/// With dispatch by trace, all spans of a trace reach the same instance, whatever the batches.
#[tokio::test]
async fn a_trace_meets_one_instance() {
    let seen = Arc::new(std::sync::Mutex::new(
        std::collections::HashMap::<u64, usize>::new(),
    ));
    let shared = Arc::clone(&seen);
    let manifest = Manifest {
        dispatch: Dispatch::ByTrace,
        ..Manifest::default()
    };
    let by_trace = stage(manifest, move |instance| {
        let seen = Arc::clone(&shared);
        move |call| {
            if let Call::Process(_, batch) = call {
                for id in ids(batch) {
                    let first = *seen.lock().unwrap().entry(id / 10).or_insert(instance);
                    assert_eq!(first, instance, "trace {} on two shards", id / 10);
                }
            }
            Ok(Reply::default())
        }
    });
    let backend = Backend::new([]);
    let mut config = config(vec![by_trace], vec![exporter(&backend, 1000)]);
    config.shards = 4;
    let pipeline = Pipeline::build(config).await.unwrap();
    for batch in 0..10 {
        // Each batch has one span of each of 50 traces.
        offer(
            &pipeline,
            traced((0..50).map(|trace| (trace, trace * 10 + batch))),
        )
        .await
        .unwrap();
    }
    drain(pipeline).await;
    assert_eq!(backend.taken(), (0..500).collect::<Vec<_>>());
    let instances = seen
        .lock()
        .unwrap()
        .values()
        .copied()
        .collect::<std::collections::HashSet<_>>();
    assert_eq!(instances.len(), 4, "all shards take part");
}

/// With `ack_on: export` the sender's OK means that the backend has the batch, and a failure is
/// reported to the sender.
#[tokio::test(start_paused = true)]
async fn ack_on_export_waits_for_the_backend() {
    let backend = Backend::new([
        Reaction::TakeAfter(Duration::from_secs(2)),
        Reaction::Refuse,
    ]);
    let mut config = config(vec![], vec![exporter(&backend, 10)]);
    config.ack_on = AckOn::Export;
    let pipeline = Pipeline::build(config).await.unwrap();
    offer(&pipeline, spans([1])).await.unwrap();
    assert_eq!(backend.taken(), [1]);
    assert!(offer(&pipeline, spans([2])).await.is_err());
    drain(pipeline).await;
}

/// If two queues are full and one of them refuses, the sender does not wait for the other; each
/// counts its refusal.
#[tokio::test(start_paused = true)]
async fn a_queue_that_refuses_is_not_waited_for() {
    let (slow, full) = (
        Backend::new([Reaction::Hang]),
        Backend::new([Reaction::Hang]),
    );
    let mut waits = exporter(&slow, 1);
    waits.queue.block_on_overflow = true;
    let mut refuses = exporter(&full, 1);
    refuses.queue.on_full = OnFull::Refuse;
    let exporters = vec![waits, refuses];
    let pipeline = Pipeline::build(config(vec![], exporters)).await.unwrap();
    offer(&pipeline, spans([1])).await.unwrap();
    let started = Instant::now();
    assert!(offer(&pipeline, spans([2])).await.is_err());
    assert_eq!(started.elapsed(), Duration::ZERO);
    let books = pipeline.ledger().books();
    assert_eq!(
        books
            .exporters
            .iter()
            .map(|e| e.enqueue_failed)
            .collect::<Vec<_>>(),
        [1, 1]
    );
}

/// With `ack_on: export` a permanent rejection by the backend is reported as a rejection, not as
/// overload.
#[tokio::test(start_paused = true)]
async fn a_rejection_is_told_as_one() {
    let backend = Backend::new([Reaction::Refuse]);
    let mut config = config(vec![], vec![exporter(&backend, 10)]);
    config.ack_on = AckOn::Export;
    let pipeline = Pipeline::build(config).await.unwrap();
    assert!(matches!(
        offer(&pipeline, spans([2])).await,
        Err(Refused::Rejected)
    ));
}
