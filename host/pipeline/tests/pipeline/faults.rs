use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use spandrel_pipeline::pipeline::Pipeline;
use spandrel_pipeline::refused::Refused;
use spandrel_pipeline::stage::{Fault, FaultKind, FaultPolicy, Manifest, Reply, StageSpec};

use crate::captured_log::Heard;
use crate::edges::*;

fn trap() -> Fault {
    Fault::new(FaultKind::Trap, "panicked at 'no', src/lib.rs:1")
}

/// A plugin that fails on a batch with span 13 in it.
fn superstitious(on_fault: FaultPolicy) -> StageSpec {
    let spec = stage(Manifest::default(), |_| {
        |call: Call<'_>| match call {
            Call::Process(_, batch) if ids(batch).contains(&13) => Err(trap()),
            _ => Ok(Reply::default()),
        }
    });
    StageSpec { on_fault, ..spec }
}

/// With `pass` the batch goes on as it came, counted as bypassed; the next one gets a new instance.
#[tokio::test(start_paused = true)]
async fn pass_forwards_the_batch_as_it_came() {
    let backend = Backend::new([]);
    let stages = vec![superstitious(FaultPolicy::Pass)];
    let pipeline = Pipeline::build(config(stages, vec![exporter(&backend, 10)]))
        .await
        .unwrap();
    offer(&pipeline, spans([12, 13])).await.unwrap();
    offer(&pipeline, spans([14])).await.unwrap();
    let stage = pipeline.ledger().books().stages[0].clone();
    assert_eq!(
        (
            stage.bypassed,
            stage.faults[0],
            stage.restarts,
            stage.output
        ),
        (2, 1, 1, 3)
    );
    drain(pipeline).await;
    assert_eq!(backend.taken(), [12, 13, 14]);
}

/// With `drop` the batch is dropped with the reason `fault`.
#[tokio::test(start_paused = true)]
async fn drop_counts_the_batch_as_dropped() {
    let backend = Backend::new([]);
    let stages = vec![superstitious(FaultPolicy::Drop)];
    let pipeline = Pipeline::build(config(stages, vec![exporter(&backend, 10)]))
        .await
        .unwrap();
    offer(&pipeline, spans([12, 13])).await.unwrap();
    offer(&pipeline, spans([14])).await.unwrap();
    assert_eq!(dropped(&pipeline, 0)["fault"], 2);
    drain(pipeline).await;
    assert_eq!(backend.taken(), [14]);
}

/// With `refuse` the sender is told to retry, and after three failures on the same bytes, not to.
#[tokio::test(start_paused = true)]
async fn refuse_ends_in_quarantine() {
    let backend = Backend::new([]);
    let stages = vec![superstitious(FaultPolicy::Refuse)];
    let pipeline = Pipeline::build(config(stages, vec![exporter(&backend, 10)]))
        .await
        .unwrap();
    for _ in 0..3 {
        let refused = offer(&pipeline, spans([13])).await.unwrap_err();
        assert!(matches!(refused, Refused::Fault { .. }), "{refused}");
        tokio::time::sleep(Duration::from_secs(5)).await;
    }
    let refused = offer(&pipeline, spans([13])).await.unwrap_err();
    assert!(
        matches!(refused, Refused::Quarantined { attempts: 3, .. }),
        "{refused}"
    );
    offer(&pipeline, spans([14])).await.unwrap();
    let books = pipeline.ledger().books();
    assert_eq!(
        (books.refused, books.stages[0].faults[0]),
        (4, 3),
        "the fourth never met the plugin"
    );
    drain(pipeline).await;
    assert_eq!(backend.taken(), [14]);
}

/// After five faults in a row the breaker keeps batches away from the plugin, until a probe works.
#[tokio::test(start_paused = true)]
async fn the_breaker_opens_and_closes() {
    let broken = Arc::new(AtomicBool::new(true));
    let calls = Arc::new(AtomicUsize::new(0));
    let (flag, counter) = (Arc::clone(&broken), Arc::clone(&calls));
    let flaky = stage(Manifest::default(), move |_| {
        let (broken, calls) = (Arc::clone(&flag), Arc::clone(&counter));
        move |_| {
            calls.fetch_add(1, Ordering::Relaxed);
            if broken.load(Ordering::Relaxed) {
                Err(trap())
            } else {
                Ok(Reply::default())
            }
        }
    });
    let backend = Backend::new([]);
    let pipeline = Pipeline::build(config(vec![flaky], vec![exporter(&backend, 100)]))
        .await
        .unwrap();
    for id in 0..20 {
        offer(&pipeline, spans([id])).await.unwrap();
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(calls.load(Ordering::Relaxed), 5);
    assert_eq!(pipeline.ledger().books().stages[0].breakers_open, 1);
    broken.store(false, Ordering::Relaxed);
    tokio::time::sleep(Duration::from_secs(2)).await;
    offer(&pipeline, spans([20])).await.unwrap();
    let stage = pipeline.ledger().books().stages[0].clone();
    assert_eq!(
        (
            stage.breakers_open,
            stage.bypassed,
            calls.load(Ordering::Relaxed)
        ),
        (0, 20, 6)
    );
    drain(pipeline).await;
    assert_eq!(backend.taken(), (0..=20).collect::<Vec<_>>());
}

/// Items that a failed instance held are offered to its successor as a batch, and arrive.
#[tokio::test(start_paused = true)]
async fn held_items_survive_a_fault() {
    let manifest = Manifest {
        holds: true,
        ..Manifest::default()
    };
    let mortal = stage(manifest, |instance| {
        move |call| match call {
            Call::Process(_, batch) if ids(batch).contains(&13) => Err(trap()),
            Call::Process(_, batch) if instance == 0 => Ok(Reply {
                verdicts: vec![1; ids(batch).len()],
                ..Reply::default()
            }),
            _ => Ok(Reply::default()),
        }
    });
    let backend = Backend::new([]);
    let pipeline = Pipeline::build(config(vec![mortal], vec![exporter(&backend, 10)]))
        .await
        .unwrap();
    offer(&pipeline, spans([1, 2, 3])).await.unwrap();
    offer(&pipeline, spans([13])).await.unwrap();
    assert_eq!(
        pipeline.ledger().books().held(),
        3,
        "held, though who held them is gone"
    );
    offer(&pipeline, spans([4])).await.unwrap();
    assert_eq!(pipeline.ledger().books().held(), 0);
    drain(pipeline).await;
    assert_eq!(backend.taken(), [1, 2, 3, 4, 13]);
}

/// Held items whose instances failed twice are not offered a third time.
#[tokio::test(start_paused = true)]
async fn held_items_are_offered_once() {
    let offers = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&offers);
    let manifest = Manifest {
        holds: true,
        ..Manifest::default()
    };
    let mut cursed = stage(manifest, move |_| {
        let offers = Arc::clone(&counter);
        move |call| match call {
            Call::Process(_, batch) if ids(batch).contains(&13) => Err(trap()),
            Call::Process(_, batch) => {
                offers.fetch_add(1, Ordering::Relaxed);
                Ok(Reply {
                    verdicts: vec![1; ids(batch).len()],
                    ..Reply::default()
                })
            }
            _ => Ok(Reply::default()),
        }
    });
    cursed.on_fault = FaultPolicy::Drop;
    let backend = Backend::new([]);
    let pipeline = Pipeline::build(config(vec![cursed], vec![exporter(&backend, 10)]))
        .await
        .unwrap();
    offer(&pipeline, spans([1, 2])).await.unwrap();
    for _ in 0..3 {
        offer(&pipeline, spans([13])).await.unwrap();
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(
        offers.load(Ordering::Relaxed),
        2,
        "at first, and once again"
    );
    let books = pipeline.ledger().books();
    assert_eq!((books.held(), dropped(&pipeline, 0)["fault"]), (0, 5));
    drain(pipeline).await;
}

/// Replies that do not fit the contract change nothing and are faults. The log names the place in
/// each reply that is wrong.
#[tokio::test(start_paused = true)]
async fn bad_replies_are_faults() {
    let bad: Vec<(&str, Reply)> = vec![
        (
            "verdicts: 1 bytes for 2 items",
            Reply {
                verdicts: vec![0],
                ..Reply::default()
            },
        ),
        (
            "verdict of item 1: drop reason 7 of 0",
            Reply {
                verdicts: vec![0, 9],
                ..Reply::default()
            },
        ),
        (
            "verdict of item 1: hold from a plugin that does not hold",
            Reply {
                verdicts: vec![0, 1],
                ..Reply::default()
            },
        ),
        (
            "edit 0: item 2 of 2",
            Reply {
                edits: vec![3, 2, 1, 0],
                ..Reply::default()
            },
        ),
        (
            "edits: 2 words, not four for each",
            Reply {
                edits: vec![3, 1],
                ..Reply::default()
            },
        ),
        (
            "edit 0: 1 bytes at 0 of a blob of 0",
            Reply {
                edits: vec![2, 0, 0, 1],
                ..Reply::default()
            },
        ),
        ("release 0: ticket 77 is unknown", releasing(vec![77, 0])),
        ("released: 1 words are not pairs", releasing(vec![1])),
        (
            "release 0: outcome 9 names no drop reason",
            releasing(vec![1, 9 << 32]),
        ),
    ];
    for (place, reply) in bad {
        let liar = stage(Manifest::default(), move |_| {
            let reply = reply.clone();
            move |call| match call {
                Call::Process(..) => Ok(reply.clone()),
                Call::Tick | Call::Drain(_) => Ok(Reply::default()),
            }
        });
        let backend = Backend::new([]);
        let told = Heard::start("plugin failed", "error");
        let pipeline = Pipeline::build(config(vec![liar], vec![exporter(&backend, 10)]))
            .await
            .unwrap();
        offer(&pipeline, spans([1, 2])).await.unwrap();
        assert_eq!(told.values(), [place]);
        let stage = pipeline.ledger().books().stages[0].clone();
        assert_eq!((stage.faults, stage.bypassed), ([0, 0, 0, 1], 2), "{place}");
        drain(pipeline).await;
        assert_eq!(backend.taken(), [1, 2], "{place}");
    }
}

/// Releasing the same item twice, in one answer or in two, is a fault; the item arrives once.
#[tokio::test(start_paused = true)]
async fn an_item_is_released_once() {
    for twice in [vec![vec![1, 0, 1, 0]], vec![vec![1, 0], vec![1, 0]]] {
        let manifest = Manifest {
            holds: true,
            tick_interval: Some(Duration::from_secs(1)),
            ..Manifest::default()
        };
        let stutters = stage(manifest, move |instance| {
            let mut words = if instance == 0 {
                twice.clone().into_iter()
            } else {
                vec![].into_iter()
            };
            move |call| match call {
                Call::Process(_, batch) if instance == 0 => Ok(Reply {
                    verdicts: vec![1; ids(batch).len()],
                    ..Reply::default()
                }),
                Call::Tick => Ok(releasing(words.next().unwrap_or_default())),
                _ => Ok(Reply::default()),
            }
        });
        let backend = Backend::new([]);
        let pipeline = Pipeline::build(config(vec![stutters], vec![exporter(&backend, 10)]))
            .await
            .unwrap();
        offer(&pipeline, spans([1, 2])).await.unwrap();
        tokio::time::sleep(Duration::from_secs(5)).await;
        assert_eq!(pipeline.ledger().books().stages[0].faults, [0, 0, 0, 1]);
        drain(pipeline).await;
        assert_eq!(backend.taken(), [1, 2]);
    }
}
