//! Tests of processes that end again and again while no batch is in the stages: no batch is put
//! into quarantine for that.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use spandrel_pipeline::stage::{Manifest, Reply, StageSpec};
use tokio::time::{Instant, sleep};

use super::{build, kill};
use crate::disk::Disk;
use crate::edges::*;

/// Kills at random moments put no batch into quarantine, and everything arrives.
#[tokio::test(start_paused = true)]
async fn plain_kills_quarantine_nothing() {
    for (seed, longest) in [(1, 100), (2, 1500), (3, 3000), (4, 8000)] {
        let mut rng = StdRng::seed_from_u64(seed);
        let (disk, backend) = (Disk::default(), Backend::new([]));
        let mut next = 0;
        for _ in 0..200 {
            let stages = vec![holding(Some(Duration::from_secs(2)))];
            let pipeline = build(&disk, stages, &backend).await;
            let end = Instant::now() + Duration::from_millis(rng.random_range(0..longest));
            while Instant::now() < end {
                offer(&pipeline, spans([next])).await.unwrap();
                next += 1;
                sleep(Duration::from_millis(rng.random_range(1..200))).await;
            }
            if rng.random_bool(0.3) {
                disk.checkpoint();
            }
            kill(&disk, pipeline).await;
        }
        let stages = vec![holding(Some(Duration::from_secs(2)))];
        let pipeline = build(&disk, stages, &backend).await;
        sleep(Duration::from_secs(60)).await;
        assert_eq!(
            (disk.quarantine().len(), disk.ingress()),
            (0, vec![]),
            "{longest}"
        );
        drain(pipeline).await;
        let mut taken = backend.taken();
        taken.dedup();
        assert_eq!(taken, (0..next).collect::<Vec<_>>());
    }
}

/// Makes a stage that holds everything for this long. Releasing a set with span 7 in it ends the
/// process.
fn deadly(after: Duration, died: &Arc<AtomicBool>) -> StageSpec {
    let manifest = Manifest {
        holds: true,
        tick_interval: Some(after),
        ..Manifest::default()
    };
    let died = Arc::clone(died);
    stage(manifest, move |_| {
        let died = Arc::clone(&died);
        let (mut held, mut seen) = (Vec::new(), Vec::new());
        move |call| match call {
            Call::Process(ticket, batch) => {
                seen.extend(ids(batch));
                let items = ids(batch).len();
                held.extend((0..items as u64).flat_map(|index| [ticket, index]));
                Ok(Reply {
                    verdicts: vec![1; items],
                    ..Reply::default()
                })
            }
            Call::Tick | Call::Drain(_) => {
                if seen.contains(&7) {
                    died.store(true, Ordering::Relaxed);
                    return Ok(Reply::default());
                }
                seen.clear();
                Ok(releasing(std::mem::take(&mut held)))
            }
        }
    })
}

/// A batch that ends the process after it came through the stages is not blamed, and nor are those
/// that were held with it: all of them stay in the journal, however often the process ends, and
/// arrive once the cause is gone.
#[tokio::test(start_paused = true)]
async fn what_ends_the_process_behind_the_stages_stays_in_the_journal() {
    for after in [Duration::from_millis(500), Duration::from_secs(8)] {
        let (disk, backend) = (Disk::default(), Backend::new([]));
        let died = Arc::new(AtomicBool::new(false));
        for process in 0..10 {
            died.store(false, Ordering::Relaxed);
            let pipeline = build(&disk, vec![deadly(after, &died)], &backend).await;
            if process == 0 {
                for id in 0..40 {
                    offer(&pipeline, spans([id])).await.unwrap();
                }
            }
            sleep(after + Duration::from_secs(1)).await;
            assert!(died.load(Ordering::Relaxed), "after {after:?}");
            kill(&disk, pipeline).await;
            assert_eq!(disk.ingress(), (0..40).collect::<Vec<_>>());
        }
        let pipeline = build(&disk, vec![holding(Some(after))], &backend).await;
        sleep(after + Duration::from_secs(1)).await;
        assert_eq!(backend.taken(), (0..40).collect::<Vec<_>>());
        assert_eq!((disk.quarantine().len(), disk.ingress()), (0, vec![]));
        drain(pipeline).await;
    }
}

/// Marks that earlier versions left beside records that had come through the stages count as no
/// failure. Those that they left for failures count.
#[tokio::test(start_paused = true)]
async fn marks_of_earlier_versions_are_read() {
    let (disk, backend) = (Disk::default(), Backend::new([]));
    let pipeline = build(&disk, vec![holding(None)], &backend).await;
    for id in 0..8 {
        offer(&pipeline, spans([id])).await.unwrap();
    }
    kill(&disk, pipeline).await;
    // Two that came through, two on trial, two that waited for one, two with failures.
    for (nth, mark) in [0x41, 0x7f, 0x80, 0x82, 0xc0, 0xc2, 3, 4]
        .into_iter()
        .enumerate()
    {
        disk.mark(nth, mark);
    }
    let pipeline = build(&disk, vec![], &backend).await;
    sleep(Duration::from_secs(1)).await;
    assert_eq!(backend.taken(), (0..7).collect::<Vec<_>>());
    let quarantine = disk.quarantine();
    assert_eq!((quarantine.len(), quarantine[0].attempts), (1, 3));
    assert_eq!(ids(&quarantine[0].request), [7]);
    assert_eq!(disk.ingress(), []);
    drain(pipeline).await;
}
