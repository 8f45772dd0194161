use std::sync::{Arc, Mutex};
use std::time::Duration;

use spandrel_pipeline::pipeline::Pipeline;
use spandrel_pipeline::refused::Refused;
use spandrel_pipeline::stage::{Generation, Manifest, Reply, StageSpec};
use tokio::time::Instant;

use crate::edges::*;

/// Stages drain in pipeline order, and items that one lets go run through those after it.
#[tokio::test(start_paused = true)]
async fn stages_drain_in_order() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&seen);
    let witness = stage(Manifest::default(), move |_| {
        let log = Arc::clone(&log);
        move |call| {
            match call {
                Call::Process(_, batch) => {
                    log.lock().unwrap().push(format!("batch {:?}", ids(batch)))
                }
                Call::Drain(_) => log.lock().unwrap().push("drain".to_owned()),
                Call::Tick => {}
            }
            Ok(Reply::default())
        }
    });
    let backend = Backend::new([]);
    let stages = vec![holding(None), holding(None), witness];
    let pipeline = Pipeline::build(config(stages, vec![exporter(&backend, 10)]))
        .await
        .unwrap();
    offer(&pipeline, spans(0..3)).await.unwrap();
    assert!(drain(pipeline).await.in_time);
    assert_eq!(*seen.lock().unwrap(), ["batch [0, 1, 2]", "drain"]);
    assert_eq!(backend.taken(), [0, 1, 2]);
}

/// A backend that returns inside the deadline gets everything: waiting attempts are made at once.
#[tokio::test(start_paused = true)]
async fn waiting_attempts_hurry() {
    let backend = Backend::new([Reaction::Busy]);
    let mut spec = exporter(&backend, 10);
    spec.retry.initial_interval = Duration::from_secs(30);
    let pipeline = Pipeline::build(config(vec![], vec![spec])).await.unwrap();
    offer(&pipeline, spans([1])).await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    backend.react(Reaction::Take);
    let started = Instant::now();
    assert!(drain(pipeline).await.in_time);
    assert!(
        started.elapsed() <= Duration::from_secs(1),
        "{:?}",
        started.elapsed()
    );
    assert_eq!(backend.taken(), [1]);
}

/// A backend that never answers costs the whole deadline, and exactly those items are abandoned
/// that it did not take.
#[tokio::test(start_paused = true)]
async fn what_is_left_at_the_deadline_is_abandoned() {
    let backend = Backend::new([Reaction::Take, Reaction::Hang]);
    let stages = vec![holding(None)];
    let pipeline = Pipeline::build(config(stages, vec![exporter(&backend, 10)]))
        .await
        .unwrap();
    let ledger = Arc::clone(pipeline.ledger());
    for id in 0..7 {
        offer(&pipeline, spans([id])).await.unwrap();
    }
    let started = Instant::now();
    let drained = drain(pipeline).await;
    assert!(!drained.in_time || started.elapsed() < Duration::from_secs(25));
    assert_eq!(
        started.elapsed().as_secs() / 26,
        0,
        "{:?}",
        started.elapsed()
    );
    let books = ledger.books();
    assert_eq!(books.exporters[0].sent + books.abandoned(), 7);
    assert_eq!(books.exporters[0].sent, backend.taken().len() as u64);
}

/// Accepted items that find no room behind the last stage are abandoned at the deadline, and the
/// drain still ends.
#[tokio::test(start_paused = true)]
async fn a_full_queue_does_not_keep_a_drain_from_ending() {
    let backend = Backend::new([Reaction::Hang]);
    let stages = vec![holding(Some(Duration::from_secs(1)))];
    let pipeline = Pipeline::build(config(stages, vec![exporter(&backend, 1)]))
        .await
        .unwrap();
    let ledger = Arc::clone(pipeline.ledger());
    for id in 0..3 {
        offer(&pipeline, spans([id])).await.unwrap();
        tokio::time::sleep(Duration::from_millis(1100)).await;
        if ledger.books().forwarded > 0 {
            break;
        }
    }
    let started = Instant::now();
    assert!(!drain(pipeline).await.in_time);
    assert_eq!(started.elapsed().as_secs(), 25);
    let books = ledger.books();
    assert_eq!(books.abandoned() + books.refused, books.received);
}

/// Ticks continue under load: a shard that is never idle still lets time pass for its plugins.
#[tokio::test(start_paused = true)]
async fn ticks_go_on_under_load() {
    let backend = Backend::new([]);
    let stages = vec![holding(Some(Duration::from_millis(100)))];
    let pipeline = Pipeline::build(config(stages, vec![exporter(&backend, 1000)]))
        .await
        .unwrap();
    for id in 0..100 {
        offer(&pipeline, spans([id])).await.unwrap();
        tokio::time::advance(Duration::from_millis(10)).await;
    }
    assert!(
        backend.taken().len() >= 80,
        "{} of 100 released",
        backend.taken().len()
    );
    drain(pipeline).await;
    assert_eq!(backend.taken(), (0..100).collect::<Vec<_>>());
}

/// A plugin that releases items while its batch has taken the queue's last room does not wait for
/// itself.
#[tokio::test(start_paused = true)]
async fn releases_do_not_wait_for_the_batch_in_hand() {
    let manifest = Manifest {
        holds: true,
        ..Manifest::default()
    };
    let one_behind = stage(manifest, |_| {
        let mut last = None;
        move |call| match call {
            Call::Process(ticket, batch) => {
                let released = last
                    .replace(ticket)
                    .map_or_else(Vec::new, |before| vec![before, 0]);
                Ok(Reply {
                    verdicts: vec![1; ids(batch).len()],
                    ..releasing(released)
                })
            }
            Call::Tick | Call::Drain(_) => Ok(releasing(
                last.take().map_or_else(Vec::new, |last| vec![last, 0]),
            )),
        }
    });
    let backend = Backend::new([]);
    let pipeline = Pipeline::build(config(vec![one_behind], vec![exporter(&backend, 1)]))
        .await
        .unwrap();
    for id in 0..5 {
        offer(&pipeline, spans([id])).await.unwrap();
        tokio::task::yield_now().await;
    }
    assert!(drain(pipeline).await.in_time);
    assert_eq!(backend.taken(), [0, 1, 2, 3, 4]);
}

fn sluggish(tick_interval: Option<Duration>, tick: Duration, drain: Duration) -> StageSpec {
    let manifest = Manifest {
        tick_interval,
        ..Manifest::default()
    };
    let generation: Arc<dyn Generation> = Arc::new(Sluggish {
        manifest,
        tick,
        drain,
    });
    StageSpec {
        generation,
        ..holding(None)
    }
}

/// Items that wait in the queue at the deadline are abandoned, even while a gauge still reads the
/// queue.
#[tokio::test(start_paused = true)]
async fn the_queue_is_abandoned_with_its_attempts() {
    let backend = Backend::new([Reaction::Hang]);
    let pipeline = Pipeline::build(config(vec![], vec![exporter(&backend, 10)]))
        .await
        .unwrap();
    let (ledger, gauge) = (Arc::clone(pipeline.ledger()), pipeline.queue_gauge());
    for id in 0..7 {
        offer(&pipeline, spans([id])).await.unwrap();
    }
    assert!(!drain(pipeline).await.in_time);
    assert_eq!(ledger.books().abandoned(), 7);
    assert_eq!(gauge()[0].size, 0);
}

/// A plugin whose ticks take longer than their interval delays neither batches nor the drain.
#[tokio::test(start_paused = true)]
async fn endless_ticks_leave_time_for_batches() {
    let stage = sluggish(
        Some(Duration::from_millis(10)),
        Duration::from_millis(90),
        Duration::ZERO,
    );
    let backend = Backend::new([]);
    let pipeline = Pipeline::build(config(vec![stage], vec![exporter(&backend, 100)]))
        .await
        .unwrap();
    for id in 0..20 {
        offer(&pipeline, spans([id])).await.unwrap();
    }
    let started = Instant::now();
    assert!(drain(pipeline).await.in_time);
    assert!(started.elapsed() < Duration::from_secs(1));
    assert_eq!(backend.taken(), (0..20).collect::<Vec<_>>());
}

/// A stage that never ends its drain uses only its share of the time; the stages after it are asked
/// to drain, and the queues still empty.
#[tokio::test(start_paused = true)]
async fn a_stuck_drain_costs_its_share() {
    let stuck = sluggish(None, Duration::ZERO, Duration::from_secs(3600));
    let backend = Backend::new([Reaction::TakeAfter(Duration::from_secs(5))]);
    let stages = vec![stuck, holding(None)];
    let pipeline = Pipeline::build(config(stages, vec![exporter(&backend, 10)]))
        .await
        .unwrap();
    offer(&pipeline, spans([1, 2])).await.unwrap();
    assert!(drain(pipeline).await.in_time);
    assert_eq!(backend.taken(), [1, 2]);
}

/// A sender whose batch is stuck in a shard gets an answer within 3 s of the start of the drain.
#[tokio::test(start_paused = true)]
async fn senders_inside_are_answered_when_draining() {
    let backend = Backend::new([Reaction::Hang]);
    let one_behind = holding(Some(Duration::from_millis(100)));
    let pipeline = Pipeline::build(config(vec![one_behind], vec![exporter(&backend, 1)]))
        .await
        .unwrap();
    // Two items were released: one is in the attempt, and the shard waits with the other.
    offer(&pipeline, spans([1])).await.unwrap();
    tokio::time::sleep(Duration::from_millis(150)).await;
    offer(&pipeline, spans([2])).await.unwrap();
    tokio::time::sleep(Duration::from_millis(150)).await;
    let mut stuck = Box::pin(offer(&pipeline, spans([3])));
    assert!(
        tokio::time::timeout(Duration::from_secs(10), &mut stuck)
            .await
            .is_err()
    );
    pipeline.close();
    let started = Instant::now();
    assert!(matches!(stuck.await, Err(Refused::Draining)));
    assert!(started.elapsed() <= Duration::from_secs(3));
    drain(pipeline).await;
}
