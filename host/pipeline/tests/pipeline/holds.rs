use std::sync::Arc;
use std::time::Duration;

use spandrel_pipeline::pipeline::{AckOn, ChangeError, Pipeline};
use spandrel_pipeline::stage::{DrainReason, Emission, FaultPolicy, Manifest, Reply};

use crate::edges::*;

/// Held items stay in the books as held, and arrive once when the plugin's tick releases them.
#[tokio::test(start_paused = true)]
async fn held_items_arrive_when_released() {
    let backend = Backend::new([]);
    let stages = vec![holding(Some(Duration::from_secs(10)))];
    let pipeline = Pipeline::build(config(stages, vec![exporter(&backend, 10)]))
        .await
        .unwrap();
    offer(&pipeline, spans(0..5)).await.unwrap();
    offer(&pipeline, spans(5..8)).await.unwrap();
    let books = pipeline.ledger().books();
    assert_eq!((books.held(), books.forwarded), (8, 0));
    assert!(books.is_balanced() && books.stages[0].held_bytes > 0);
    assert_eq!(backend.taken(), Vec::<u64>::new());
    tokio::time::sleep(Duration::from_secs(11)).await;
    assert_eq!(backend.taken(), (0..8).collect::<Vec<_>>());
    let books = pipeline.ledger().books();
    assert_eq!((books.held(), books.stages[0].held_bytes), (0, 0));
    drain(pipeline).await;
}

/// If some items of a batch are released, some dropped and some still held, each item ends where it
/// should.
#[tokio::test(start_paused = true)]
async fn a_batch_is_settled_item_by_item() {
    let manifest = Manifest {
        holds: true,
        tick_interval: Some(Duration::from_secs(1)),
        drop_reasons: vec!["dull".to_owned()],
        ..Manifest::default()
    };
    let picky = stage(manifest, |_| {
        let mut ticks = 0;
        move |call| match call {
            Call::Process(_, batch) => {
                // The six verdicts are keep, drop, hold, hold, hold, hold.
                assert_eq!(ids(batch).len(), 6);
                Ok(Reply {
                    verdicts: vec![0, 2, 1, 1, 1, 1],
                    ..Reply::default()
                })
            }
            Call::Tick => {
                ticks += 1;
                Ok(match ticks {
                    1 => releasing(vec![1, 5, 1, 2 | 2 << 32]),
                    2 => releasing(vec![1, 4 | 255 << 32]),
                    _ => Reply::default(),
                })
            }
            Call::Drain(_) => Ok(releasing(vec![1, 3])),
        }
    });
    let backend = Backend::new([]);
    let pipeline = Pipeline::build(config(vec![picky], vec![exporter(&backend, 10)]))
        .await
        .unwrap();
    offer(&pipeline, spans(0..6)).await.unwrap();
    tokio::time::sleep(Duration::from_millis(3500)).await;
    assert_eq!(*backend.requests.lock().unwrap(), [vec![0], vec![5]]);
    let drops = dropped(&pipeline, 0);
    assert_eq!((drops["dull"], drops["undisposed"]), (2, 1));
    assert_eq!(pipeline.ledger().books().held(), 1);
    drain(pipeline).await;
    assert_eq!(backend.taken(), [0, 3, 5]);
}

/// Over the limit the plugin is asked to let go; items that it still keeps go on, and if the plugin
/// names them later, that is not a fault.
#[tokio::test(start_paused = true)]
async fn over_the_limit_the_oldest_go_on() {
    let manifest = Manifest {
        holds: true,
        tick_interval: Some(Duration::from_secs(60)),
        ..Manifest::default()
    };
    let asked = Arc::new(std::sync::Mutex::new(Vec::new()));
    let reasons = Arc::clone(&asked);
    let mut stubborn = stage(manifest, move |_| {
        let reasons = Arc::clone(&reasons);
        move |call| match call {
            Call::Process(_, batch) => Ok(Reply {
                verdicts: vec![1; ids(batch).len()],
                ..Reply::default()
            }),
            Call::Drain(reason) => {
                reasons.lock().unwrap().push(reason);
                Ok(Reply::default())
            }
            // This names the first batch, which the host has let go by then.
            Call::Tick => Ok(releasing(vec![1, 0, 1, 1])),
        }
    });
    stubborn.hold.items = 4;
    let backend = Backend::new([]);
    let pipeline = Pipeline::build(config(vec![stubborn], vec![exporter(&backend, 10)]))
        .await
        .unwrap();
    for batch in [[0, 1], [2, 3], [4, 5]] {
        offer(&pipeline, spans(batch)).await.unwrap();
    }
    assert_eq!(*asked.lock().unwrap(), [DrainReason::Pressure]);
    tokio::time::sleep(Duration::from_secs(61)).await;
    assert_eq!(backend.taken(), [0, 1], "the oldest batch, as it came");
    let books = pipeline.ledger().books();
    assert_eq!(
        (
            books.held(),
            books.stages[0].bypassed,
            books.stages[0].faults
        ),
        (4, 2, [0; 4])
    );
    drain(pipeline).await;
    assert_eq!(backend.taken(), [0, 1, 2, 3, 4, 5]);
}

/// Items that are held for longer than `hold_time` are let go; with `on_fault: drop` they are
/// dropped.
#[tokio::test(start_paused = true)]
async fn items_are_not_held_for_ever() {
    let mut forgetful = stage(
        Manifest {
            holds: true,
            ..Manifest::default()
        },
        |_| {
            |call: Call<'_>| match call {
                Call::Process(_, batch) => Ok(Reply {
                    verdicts: vec![1; ids(batch).len()],
                    ..Reply::default()
                }),
                Call::Tick | Call::Drain(_) => Ok(Reply::default()),
            }
        },
    );
    forgetful.hold.time = Duration::from_secs(30);
    forgetful.on_fault = FaultPolicy::Drop;
    let backend = Backend::new([]);
    let pipeline = Pipeline::build(config(vec![forgetful], vec![exporter(&backend, 10)]))
        .await
        .unwrap();
    offer(&pipeline, spans(0..3)).await.unwrap();
    tokio::time::sleep(Duration::from_secs(32)).await;
    assert_eq!(dropped(&pipeline, 0)["held_limit"], 3);
    drain(pipeline).await;
}

/// Items that a plugin makes are in the books as created, and go on like any other.
#[tokio::test(start_paused = true)]
async fn created_items_are_in_the_books() {
    let manifest = Manifest {
        tick_interval: Some(Duration::from_secs(1)),
        ..Manifest::default()
    };
    let maker = stage(manifest, |_| {
        let mut made = 0;
        move |call| {
            let Call::Tick = call else {
                return Ok(Reply::default());
            };
            made += 1;
            let created = if made <= 2 {
                spans([100 + made]).to_vec()
            } else {
                Vec::new()
            };
            Ok(Reply {
                emission: Some(Emission {
                    created,
                    ..Emission::default()
                }),
                ..Reply::default()
            })
        }
    });
    let backend = Backend::new([]);
    let pipeline = Pipeline::build(config(vec![maker], vec![exporter(&backend, 10)]))
        .await
        .unwrap();
    offer(&pipeline, spans([1])).await.unwrap();
    tokio::time::sleep(Duration::from_secs(5)).await;
    let books = pipeline.ledger().books();
    assert_eq!(
        (books.received, books.created, books.exporters[0].sent),
        (1, 2, 3)
    );
    drain(pipeline).await;
    assert_eq!(backend.taken(), [1, 101, 102]);
}

/// Building a pipeline with `ack_on: export` and a plugin that holds is an error.
#[tokio::test]
async fn ack_on_export_refuses_plugins_that_hold() {
    let backend = Backend::new([]);
    let mut config = config(vec![holding(None)], vec![exporter(&backend, 10)]);
    config.ack_on = AckOn::Export;
    let error = Pipeline::build(config).await.unwrap_err();
    assert!(
        matches!(error, ChangeError::AckOnExportWithHolds { .. }),
        "{error}"
    );
}

/// However many items a plugin releases at once, they go on in requests of limited size.
#[tokio::test(start_paused = true)]
async fn releases_are_cut_to_size() {
    let backend = Backend::new([]);
    let pipeline = Pipeline::build(config(vec![holding(None)], vec![exporter(&backend, 10)]))
        .await
        .unwrap();
    for batch in 0..20 {
        offer(&pipeline, spans(batch * 1000..(batch + 1) * 1000))
            .await
            .unwrap();
    }
    assert_eq!(pipeline.ledger().books().held(), 20_000);
    drain(pipeline).await;
    assert_eq!(backend.taken(), (0..20_000).collect::<Vec<_>>());
    let sizes = backend
        .requests
        .lock()
        .unwrap()
        .iter()
        .map(Vec::len)
        .collect::<Vec<_>>();
    assert_eq!(sizes, [8192, 8192, 3616]);
}

/// With a tick interval of an hour, items that are held for too long are let go all the same.
#[tokio::test(start_paused = true)]
async fn limits_hold_between_ticks() {
    let mut stage = holding(Some(Duration::from_secs(3600)));
    stage.hold.time = Duration::from_secs(30);
    let backend = Backend::new([]);
    let pipeline = Pipeline::build(config(vec![stage], vec![exporter(&backend, 10)]))
        .await
        .unwrap();
    offer(&pipeline, spans(0..3)).await.unwrap();
    tokio::time::sleep(Duration::from_secs(33)).await;
    assert_eq!(backend.taken(), [0, 1, 2]);
    drain(pipeline).await;
}
