//! Tests of a pipeline with a journal: an OK holds, whatever happens after it.

mod age;
mod chaos;
mod outage;
mod process_ends;
mod record_lifetime;
mod replays;
mod restart;

use std::sync::Arc;
use std::time::Duration;

use spandrel_pipeline::ingress::Ingress;
use spandrel_pipeline::pipeline::{AckOn, ChangeError, Pipeline, PipelineConfig};
use spandrel_pipeline::refused::Refused;
use spandrel_pipeline::stage::StageSpec;
use spandrel_wire::Signal;
use tokio::time::{Instant, sleep};

use crate::disk::Disk;
use crate::edges::*;

/// Returns the config of a pipeline on a disk.
fn on(
    disk: &Disk,
    stages: Vec<StageSpec>,
    backend: &Arc<Backend>,
    queue_size: usize,
) -> PipelineConfig {
    let mut config = config(stages, vec![exporter(backend, queue_size)]);
    config.durability = Some(disk.open());
    config
}

async fn build(disk: &Disk, stages: Vec<StageSpec>, backend: &Arc<Backend>) -> Pipeline {
    Pipeline::build(on(disk, stages, backend, 1000))
        .await
        .unwrap()
}

/// Ends the process.
async fn kill(disk: &Disk, pipeline: Pipeline) {
    disk.kill();
    drop(pipeline);
    // The tasks are dropped once the runtime has run.
    sleep(Duration::from_millis(1)).await;
}

/// Removes the pipeline: its plugins let go of their held items.
async fn retire(pipeline: Pipeline) {
    let ledger = Arc::clone(pipeline.ledger());
    let deadline = Instant::now() + Duration::from_secs(25);
    pipeline.retire(deadline).await;
    let books = ledger.books();
    assert!(books.is_balanced() && books.is_settled(), "{ledger}");
}

/// A batch with an OK is in the log until the backend has it, even while a plugin holds it; then
/// its record is finished.
#[tokio::test(start_paused = true)]
async fn a_record_is_kept_until_it_is_delivered() {
    let (disk, backend) = (Disk::default(), Backend::new([]));
    let stages = vec![holding(Some(Duration::from_secs(10)))];
    let pipeline = build(&disk, stages, &backend).await;
    offer(&pipeline, spans([1, 2])).await.unwrap();
    assert_eq!(disk.ingress(), [1, 2]);
    sleep(Duration::from_secs(9)).await;
    assert_eq!((disk.ingress(), backend.taken()), (vec![1, 2], vec![]));
    sleep(Duration::from_secs(2)).await;
    assert_eq!((disk.ingress(), backend.taken()), (vec![], vec![1, 2]));
    assert_eq!(drain(pipeline).await.kept, 0);
}

/// Items that were held or queued when the process died go through the stages again in the next
/// one.
#[tokio::test(start_paused = true)]
async fn a_killed_process_loses_nothing() {
    let (disk, backend) = (Disk::default(), Backend::new([]));
    let pipeline = build(&disk, vec![holding(None)], &backend).await;
    offer(&pipeline, spans([1, 2])).await.unwrap();
    sleep(Duration::from_millis(10)).await;
    let ledger = Arc::clone(pipeline.ledger());
    kill(&disk, pipeline).await;
    assert!(ledger.books().is_balanced(), "{ledger}");
    assert_eq!(
        (ledger.books().journaled, ledger.books().abandoned()),
        (2, 0)
    );
    assert_eq!(ledger.books().kept_on_disk(), 2);

    backend.react(Reaction::Hang);
    let pipeline = build(&disk, vec![], &backend).await;
    sleep(Duration::from_millis(10)).await;
    assert_eq!(pipeline.ledger().books().exporters[0].queued, 2);
    kill(&disk, pipeline).await;

    backend.react(Reaction::Take);
    let pipeline = build(&disk, vec![], &backend).await;
    sleep(Duration::from_millis(10)).await;
    assert_eq!((backend.taken(), disk.ingress()), (vec![1, 2], vec![]));
    let books = pipeline.ledger().books();
    assert_eq!((books.replayed, books.received), (2, 0));
    drain(pipeline).await;
}

/// If a sender goes away while the disk syncs, its batch still arrives.
#[tokio::test(start_paused = true)]
async fn a_sender_that_goes_away_leaves_nothing_behind() {
    let (disk, backend) = (Disk::default(), Backend::new([]));
    disk.set(|condition| condition.delay = Duration::from_millis(100));
    let pipeline = build(&disk, vec![], &backend).await;
    let hasty = tokio::time::timeout(Duration::from_millis(50), offer(&pipeline, spans([1])));
    assert!(hasty.await.is_err());
    sleep(Duration::from_millis(100)).await;
    assert_eq!((backend.taken(), disk.ingress()), (vec![1], vec![]));
    drain(pipeline).await;
}

/// A full disk refuses senders with a hint, exporting continues, and receiving continues once there
/// is room.
#[tokio::test(start_paused = true)]
async fn a_full_disk_refuses() {
    let (disk, backend) = (Disk::default(), Backend::new([]));
    let pipeline = build(&disk, vec![holding(Some(Duration::from_secs(1)))], &backend).await;
    offer(&pipeline, spans([1])).await.unwrap();
    disk.set(|condition| condition.ingress_full = true);
    let refused = offer(&pipeline, spans([2])).await.unwrap_err();
    assert!(
        matches!(refused, Refused::Unwritten { retry_after, .. } if !retry_after.is_zero()),
        "{refused}"
    );
    assert_eq!(pipeline.ledger().books().refused, 1);
    sleep(Duration::from_secs(2)).await;
    assert_eq!(backend.taken(), [1]);
    disk.set(|condition| condition.ingress_full = false);
    offer(&pipeline, spans([2])).await.unwrap();
    retire(pipeline).await;
    assert_eq!(backend.taken(), [1, 2]);
}

/// Requests are written together: many senders do not wait one after the other for the disk, and
/// none prevents a change of the stages meanwhile.
#[tokio::test(start_paused = true)]
async fn many_are_written_at_once() {
    let (disk, backend) = (Disk::default(), Backend::new([]));
    disk.set(|condition| condition.delay = Duration::from_millis(100));
    let pipeline = build(&disk, vec![holding(None)], &backend).await;
    let started = Instant::now();
    let all = (0..200).map(|id| offer(&pipeline, spans([id])));
    let all = futures_util::future::join_all(all);
    let changed = async {
        sleep(Duration::from_millis(50)).await;
        let stages = pipeline.stages().await;
        pipeline.change(stages).await.unwrap();
        assert!(started.elapsed() < Duration::from_millis(60));
    };
    let (all, ()) = tokio::join!(all, changed);
    assert!(all.into_iter().all(|answer| answer.is_ok()));
    assert!(
        started.elapsed() < Duration::from_millis(300),
        "{:?}",
        started.elapsed()
    );
    retire(pipeline).await;
    assert_eq!(backend.taken().len(), 200);
}

/// Items that are cut off at the drain's deadline are not lost: they stay in the journal, and in
/// the books.
#[tokio::test(start_paused = true)]
async fn a_drain_leaves_the_rest_on_the_disk() {
    let (disk, backend) = (Disk::default(), Backend::new([]));
    let (stage, _gate) = crate::gate::gated_on(|ids| ids.contains(&1));
    let pipeline = build(&disk, vec![stage], &backend).await;
    for id in 0..5 {
        offer(&pipeline, spans([id])).await.unwrap();
    }
    let ledger = Arc::clone(pipeline.ledger());
    let drained = drain(pipeline).await;
    let books = ledger.books();
    assert_eq!((books.journaled, books.abandoned()), (4, 0), "{books}");
    assert_eq!((drained.kept, disk.ingress()), (4, vec![1, 2, 3, 4]));
    let pipeline = build(&disk, vec![], &backend).await;
    sleep(Duration::from_secs(1)).await;
    drain(pipeline).await;
    assert_eq!(backend.taken(), [0, 1, 2, 3, 4]);
}

/// A disk that stops answering does not delay a drain beyond its deadline, neither for new batches
/// nor on the way to an exporter's log: waiting senders are told, and batches that had their OK
/// before are kept.
#[tokio::test(start_paused = true)]
async fn a_drain_does_not_wait_for_a_disk_that_hangs() {
    let (disk, backend) = (Disk::default(), Backend::new([Reaction::Busy]));
    let pipeline = Pipeline::build(on(&disk, vec![], &backend, 2)).await;
    let pipeline = pipeline.unwrap();
    for id in 0..2 {
        offer(&pipeline, spans([id])).await.unwrap();
    }
    disk.set(|condition| condition.egress_full = true);
    for id in 2..5 {
        offer(&pipeline, spans([id])).await.unwrap();
    }
    disk.set(|condition| condition.delay = Duration::from_secs(3600));
    disk.set(|condition| condition.egress_full = false);
    sleep(Duration::from_secs(2)).await;
    let started = Instant::now();
    let ingress = pipeline.ingress();
    let (refused, drained) = tokio::join!(ingress.offer(Signal::Traces, spans([5])), async {
        sleep(Duration::from_millis(10)).await;
        drain(pipeline).await
    });
    assert!(refused.is_err(), "{refused:?}");
    assert!(started.elapsed() < Duration::from_secs(27), "{drained:?}");
    assert_eq!((drained.kept, disk.ingress()), (5, vec![0, 1, 2, 3, 4]));
    disk.set(|condition| condition.delay = Duration::ZERO);
    backend.react(Reaction::Take);
    let pipeline = build(&disk, vec![], &backend).await;
    sleep(Duration::from_secs(60)).await;
    assert_eq!(drain(pipeline).await.kept, 0);
    let mut taken = backend.taken();
    taken.retain(|id| *id < 5);
    taken.dedup();
    assert_eq!(taken, [0, 1, 2, 3, 4]);
}

/// A gate that is shut refuses with its hint; batches in the journal go on.
#[tokio::test(start_paused = true)]
async fn a_shut_gate_refuses() {
    let (disk, backend) = (Disk::default(), Backend::new([]));
    let pipeline = build(&disk, vec![holding(Some(Duration::from_secs(1)))], &backend).await;
    offer(&pipeline, spans([1])).await.unwrap();
    let gate = pipeline.gate();
    gate.shut(Duration::from_secs(7));
    let refused = offer(&pipeline, spans([2])).await.unwrap_err();
    let hint = Duration::from_secs(7);
    assert!(matches!(refused, Refused::Full { retry_after } if retry_after == hint));
    sleep(Duration::from_secs(2)).await;
    assert_eq!(backend.taken(), [1]);
    gate.open();
    offer(&pipeline, spans([2])).await.unwrap();
    drain(pipeline).await;
}

/// With several pipelines behind one receiver, each one with a journal has the request before the
/// OK.
#[tokio::test(start_paused = true)]
async fn all_of_several_pipelines_have_it() {
    let (disks, backend) = ([Disk::default(), Disk::default()], Backend::new([]));
    let one = build(&disks[0], vec![holding(None)], &backend).await;
    let two = build(&disks[1], vec![holding(None)], &backend).await;
    let plain = Pipeline::build(config(vec![], vec![exporter(&backend, 10)]))
        .await
        .unwrap();
    let ingress = Pipeline::fan_out([&one, &plain, &two]);
    ingress.offer(Signal::Traces, spans([1])).await.unwrap();
    assert!(disks.iter().all(|disk| disk.ingress() == [1]));
    disks[1].set(|condition| condition.ingress_full = true);
    let refused = ingress.offer(Signal::Traces, spans([2])).await.unwrap_err();
    assert!(matches!(refused, Refused::Unwritten { .. }));
    for pipeline in [one, two, plain] {
        retire(pipeline).await;
    }
    assert_eq!(
        backend.taken(),
        [1, 1, 1, 2],
        "nobody without a journal has it"
    );
}

/// A pipeline cannot take its OK from both the journal and the export.
#[tokio::test(start_paused = true)]
async fn ack_on_export_needs_no_journal() {
    let (disk, backend) = (Disk::default(), Backend::new([]));
    let mut config = on(&disk, vec![], &backend, 10);
    config.ack_on = AckOn::Export;
    let error = Pipeline::build(config).await.unwrap_err();
    assert!(matches!(error, ChangeError::AckOnExportWithJournal { .. }));
}
