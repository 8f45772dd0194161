use std::time::Duration;

use spandrel_pipeline::batcher::BatcherConfig;
use spandrel_pipeline::pipeline::Pipeline;

use crate::edges::*;

/// A backend that is busy for a while gets everything in the end, in the order of the queue.
#[tokio::test(start_paused = true)]
async fn retries_until_the_backend_takes_it() {
    let backend = Backend::new([
        Reaction::Busy,
        Reaction::Busy,
        Reaction::Busy,
        Reaction::Take,
    ]);
    let pipeline = Pipeline::build(config(vec![], vec![exporter(&backend, 10)]))
        .await
        .unwrap();
    offer(&pipeline, spans([1, 2])).await.unwrap();
    offer(&pipeline, spans([3])).await.unwrap();
    tokio::time::sleep(Duration::from_secs(120)).await;
    assert_eq!(*backend.requests.lock().unwrap(), [vec![1, 2], vec![3]]);
    assert_eq!(pipeline.ledger().books().exporters[0].attempts, 5);
    drain(pipeline).await;
}

/// After `max_elapsed_time` the exporter gives items up and counts them, and continues with those
/// behind them.
#[tokio::test(start_paused = true)]
async fn gives_up_after_max_elapsed_time() {
    let backend = Backend::new([Reaction::Busy]);
    let pipeline = Pipeline::build(config(vec![], vec![exporter(&backend, 10)]))
        .await
        .unwrap();
    offer(&pipeline, spans([1, 2])).await.unwrap();
    tokio::time::sleep(Duration::from_secs(400)).await;
    backend.react(Reaction::Take);
    offer(&pipeline, spans([3])).await.unwrap();
    let ledger = std::sync::Arc::clone(pipeline.ledger());
    drain(pipeline).await;
    let books = ledger.books();
    assert_eq!(
        (books.exporters[0].expired, books.exporters[0].sent),
        (2, 1)
    );
    assert_eq!(backend.taken(), [3]);
}

/// Items that the backend permanently refuses are counted and not sent again.
#[tokio::test(start_paused = true)]
async fn permanent_failures_are_counted_once() {
    let backend = Backend::new([Reaction::Refuse, Reaction::Partial(1), Reaction::Take]);
    let pipeline = Pipeline::build(config(vec![], vec![exporter(&backend, 10)]))
        .await
        .unwrap();
    for batch in [vec![1], vec![3, 4], vec![5, 6]] {
        offer(&pipeline, spans(batch)).await.unwrap();
    }
    let ledger = std::sync::Arc::clone(pipeline.ledger());
    drain(pipeline).await;
    let exporter = ledger.books().exporters[0].clone();
    assert_eq!(
        (exporter.failed, exporter.rejected, exporter.sent),
        (1, 1, 3)
    );
    assert_eq!(backend.requests.lock().unwrap().len(), 1);
}

/// The batcher sends at `min_size`, never more than `max_size`, and sends the rest after
/// `flush_timeout`.
#[tokio::test(start_paused = true)]
async fn batches_by_size_and_by_age() {
    let backend = Backend::new([]);
    let mut spec = exporter(&backend, 100);
    spec.batcher = Some(BatcherConfig {
        flush_timeout: Duration::from_secs(1),
        min_size: 4,
        max_size: 5,
        ..BatcherConfig::default()
    });
    let pipeline = Pipeline::build(config(vec![], vec![spec])).await.unwrap();
    for id in 0..5 {
        offer(&pipeline, spans([id])).await.unwrap();
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(
        *backend.requests.lock().unwrap(),
        [vec![0, 1, 2, 3]],
        "the fifth waits"
    );
    tokio::time::sleep(Duration::from_millis(600)).await;
    assert_eq!(
        backend.requests.lock().unwrap()[1],
        [4],
        "until the timeout"
    );
    offer(&pipeline, spans(10..22)).await.unwrap();
    drain(pipeline).await;
    let sizes = backend
        .requests
        .lock()
        .unwrap()
        .iter()
        .map(Vec::len)
        .collect::<Vec<_>>();
    assert_eq!(sizes, [4, 1, 5, 5, 2]);
}

/// Each exporter has its own queue: if one hangs, another still gets everything.
#[tokio::test(start_paused = true)]
async fn exporters_do_not_wait_for_each_other() {
    let (dead, alive) = (Backend::new([Reaction::Hang]), Backend::new([]));
    let exporters = vec![exporter(&dead, 10), exporter(&alive, 10)];
    let pipeline = Pipeline::build(config(vec![], exporters)).await.unwrap();
    for id in 0..5 {
        offer(&pipeline, spans([id])).await.unwrap();
    }
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert_eq!(alive.taken(), [0, 1, 2, 3, 4]);
    let ledger = std::sync::Arc::clone(pipeline.ledger());
    assert!(!drain(pipeline).await.in_time);
    let books = ledger.books();
    assert_eq!(
        (books.exporters[0].abandoned, books.exporters[1].sent),
        (5, 5)
    );
}
