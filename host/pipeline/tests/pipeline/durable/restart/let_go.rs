//! Tests of items that a stop lets go of all the same.

use std::sync::Arc;
use std::time::Duration;

use spandrel_pipeline::stage::{DrainReason, Emission, Manifest, Reply};
use tokio::time::{Instant, sleep};

use super::{dedup, row, sampler, start};
use crate::disk::Disk;
use crate::durable::build;
use crate::edges::*;
use crate::stateful_plugin::Diary;

/// A plugin that cannot hold and has no state to carry is asked for the data that it has only in
/// memory; a plugin with a state, or one that holds, is not.
#[tokio::test(start_paused = true)]
async fn sums_are_asked_for() {
    let (disk, backend) = (Disk::default(), Backend::new([]));
    let sums = stage(Manifest::default(), |_| {
        let mut seen = 0_u64;
        move |call| match call {
            Call::Process(_, batch) => {
                seen += ids(batch).len() as u64;
                Ok(Reply::default())
            }
            Call::Drain(DrainReason::Shutdown) => Ok(Reply {
                emission: Some(Emission {
                    created: spans([1000 + seen]).to_vec(),
                    ..Emission::default()
                }),
                ..Reply::default()
            }),
            Call::Tick | Call::Drain(_) => Ok(Reply::default()),
        }
    });
    let pipeline = build(&disk, vec![sums], &backend).await;
    offer(&pipeline, spans([1, 2])).await.unwrap();
    sleep(Duration::from_millis(10)).await;
    assert_eq!(drain(pipeline).await.kept, 0);
    assert_eq!(backend.taken(), [1, 2, 1002]);
}

/// Items that a plugin made from nothing that is in the journal are not left to the journal: they
/// go on at the stop.
#[tokio::test(start_paused = true)]
async fn what_no_record_has_goes_on() {
    let (disk, backend, diary) = (Disk::default(), Backend::new([]), Diary::default());
    let manifest = Manifest {
        tick_interval: Some(Duration::from_millis(100)),
        ..Manifest::default()
    };
    let mut made = stage(manifest, |_| {
        let mut next = 500;
        move |call| match call {
            Call::Tick if next < 503 => {
                next += 1;
                Ok(Reply {
                    emission: Some(Emission {
                        created: spans([next]).to_vec(),
                        ..Emission::default()
                    }),
                    ..Reply::default()
                })
            }
            _ => Ok(Reply::default()),
        }
    });
    made.name = "made".to_owned();
    let stages = vec![made, sampler(&diary).stage("sampler")];
    let pipeline = start(&disk, stages.clone(), &backend).await;
    offer(&pipeline, spans([1])).await.unwrap();
    sleep(Duration::from_secs(1)).await;
    assert_eq!(pipeline.ledger().books().held(), 4);
    let ledger = Arc::clone(pipeline.ledger());
    drain(pipeline).await;
    assert_eq!(ledger.books().abandoned(), 0, "{ledger}");
    assert_eq!(
        (backend.taken(), disk.ingress()),
        (vec![501, 502, 503], vec![1])
    );
    let pipeline = start(&disk, vec![sampler(&diary).stage("sampler")], &backend).await;
    offer(&pipeline, spans([999])).await.unwrap();
    sleep(Duration::from_millis(10)).await;
    assert_eq!(backend.taken(), [1, 501, 502, 503]);
    let books = pipeline.ledger().books();
    assert_eq!(books.stages[0].faults, [0; 4], "it may name what is gone");
    drain(pipeline).await;
}

/// A pipeline that is removed lets go: nothing takes over from it.
#[tokio::test(start_paused = true)]
async fn a_retired_pipeline_lets_go() {
    let (disk, backend, diary) = (Disk::default(), Backend::new([]), Diary::default());
    let pipeline = start(&disk, row(&dedup(&diary), &sampler(&diary)), &backend).await;
    offer(&pipeline, spans([1, 2])).await.unwrap();
    sleep(Duration::from_millis(10)).await;
    let drained = pipeline
        .retire(Instant::now() + Duration::from_secs(25))
        .await;
    assert_eq!((backend.taken(), drained.kept), (vec![1, 2], 0));
}
