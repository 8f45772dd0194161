//! Tests of processes that end again and again: only the batch at fault is convicted.

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

/// Kills at random moments convict no batch: the shelf is empty in the end, and everything arrives.
#[tokio::test(start_paused = true)]
async fn plain_kills_convict_nobody() {
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
            (disk.shelf().len(), disk.ingress()),
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

/// A batch that ends the process after it came through the stages is found among all that were held
/// with it, and goes on the shelf; the others arrive.
#[tokio::test(start_paused = true)]
async fn poison_behind_the_stages_is_found() {
    for after in [Duration::from_millis(500), Duration::from_secs(8)] {
        let (disk, backend) = (Disk::default(), Backend::new([]));
        let died = Arc::new(AtomicBool::new(false));
        let mut deaths = 0;
        for process in 0.. {
            died.store(false, Ordering::Relaxed);
            let pipeline = build(&disk, vec![deadly(after, &died)], &backend).await;
            if process == 0 {
                for id in 0..40 {
                    offer(&pipeline, spans([id])).await.unwrap();
                }
            }
            let began = Instant::now();
            while !died.load(Ordering::Relaxed) && began.elapsed() < Duration::from_secs(200) {
                sleep(Duration::from_millis(50)).await;
            }
            if !died.load(Ordering::Relaxed) {
                drain(pipeline).await;
                break;
            }
            kill(&disk, pipeline).await;
            deaths += 1;
            assert!(deaths <= 16, "after {after:?}");
        }
        let shelf = disk.shelf();
        assert_eq!(shelf.len(), 1, "after {after:?}, {deaths} deaths");
        assert_eq!(ids(&shelf[0].request), [7]);
        let mut taken = backend.taken();
        taken.dedup();
        assert_eq!(taken, (0..40).filter(|id| *id != 7).collect::<Vec<_>>());
        assert_eq!(disk.ingress(), []);
    }
}
