//! A merged request that is permanently refused is split: only the batches at fault are lost.

use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::{BoxFuture, join_all};
use spandrel_pipeline::batcher::BatcherConfig;
use spandrel_pipeline::exporter::{Exporter, Outcome, Refuses};
use spandrel_pipeline::pipeline::{AckOn, Pipeline, PipelineConfig};
use spandrel_pipeline::refused::Refused;
use spandrel_wire::Signal;
use tokio::time::sleep;

use crate::disk::Disk;
use crate::edges::*;

/// A backend that refuses a whole request if it has one of the bad spans.
#[derive(Debug)]
struct Picky {
    bad: fn(u64) -> bool,
    refuses: Mutex<Refuses>,
    is_away: Mutex<bool>,
    attempts: AtomicUsize,
    /// The delay before each answer.
    pace: Mutex<Duration>,
    /// The attempts at which it is unavailable again.
    gaps: Mutex<Range<usize>>,
    /// The number of attempts that it answers; it answers none after that.
    answers: AtomicUsize,
    taken: Mutex<Vec<u64>>,
}

impl Picky {
    fn new(bad: fn(u64) -> bool) -> Arc<Self> {
        Arc::new(Self {
            bad,
            refuses: Mutex::new(Refuses::Batch),
            is_away: Mutex::new(true),
            attempts: AtomicUsize::new(0),
            pace: Mutex::default(),
            gaps: Mutex::default(),
            answers: AtomicUsize::new(usize::MAX),
            taken: Mutex::default(),
        })
    }

    /// Makes the backend available from now on, and starts to count its attempts.
    fn come_back(&self) {
        *self.is_away.lock().unwrap() = false;
        self.attempts.store(0, Ordering::Relaxed);
    }

    fn taken(&self) -> Vec<u64> {
        let mut taken = self.taken.lock().unwrap().clone();
        taken.sort_unstable();
        taken
    }

    fn attempts(&self) -> usize {
        self.attempts.load(Ordering::Relaxed)
    }
}

impl Exporter for Picky {
    fn export(&self, _: Signal, batch: Bytes) -> BoxFuture<'_, Outcome> {
        Box::pin(async move {
            let error = "no".to_owned();
            if *self.is_away.lock().unwrap() {
                return Outcome::Retry { after: None, error };
            }
            let attempt = self.attempts.fetch_add(1, Ordering::Relaxed);
            if attempt >= self.answers.load(Ordering::Relaxed) {
                std::future::pending::<()>().await;
            }
            let pace = *self.pace.lock().unwrap();
            sleep(pace).await;
            if self.gaps.lock().unwrap().contains(&attempt) {
                return Outcome::Retry { after: None, error };
            }
            let ids = ids(&batch);
            if ids.iter().any(|id| (self.bad)(*id)) {
                let refuses = *self.refuses.lock().unwrap();
                return Outcome::Permanent { refuses, error };
            }
            self.taken.lock().unwrap().extend(ids);
            Outcome::Sent
        })
    }
}

fn with(backend: &Arc<Picky>, queue_size: usize) -> PipelineConfig {
    let mut spec = exporter(&Backend::new([]), queue_size);
    spec.exporter = Arc::clone(backend) as Arc<dyn Exporter>;
    config(vec![], vec![spec])
}

async fn durable(disk: &Disk, backend: &Arc<Picky>) -> Pipeline {
    let mut config = with(backend, 2);
    config.durability = Some(disk.open());
    Pipeline::build(config).await.unwrap()
}

/// Sends this many spans, each in a batch of its own, while the backend is unavailable; those in
/// its log are in few records.
async fn backlog(pipeline: &Pipeline, disk: &Disk, batches: u64) {
    for id in 0..batches {
        offer(pipeline, spans([id])).await.unwrap();
    }
    sleep(Duration::from_secs(1)).await;
    assert!(disk.records("backend") < 10);
}

fn all_but(batches: u64, bad: fn(u64) -> bool) -> Vec<u64> {
    (0..batches).filter(|id| !bad(*id)).collect()
}

/// Only the batches of a backlog that the backend refuses are lost, with a few extra attempts for
/// each; then their record is finished.
#[tokio::test(start_paused = true)]
async fn one_bad_batch_of_a_backlog_is_lost_alone() {
    let bad = |id: u64| id == 42 || id == 700;
    let (disk, backend) = (Disk::default(), Picky::new(bad));
    let pipeline = durable(&disk, &backend).await;
    backlog(&pipeline, &disk, 1000).await;
    backend.come_back();
    sleep(Duration::from_secs(60)).await;
    assert_eq!(backend.taken(), all_but(1000, bad));
    let books = pipeline.ledger().books();
    assert!(books.is_balanced() && books.is_settled(), "{books}");
    assert_eq!(
        (books.exporters[0].failed, books.exporters[0].sent),
        (2, 998)
    );
    assert_eq!((disk.ingress(), disk.egress("backend")), (vec![], vec![]));
    assert!(backend.attempts() <= 50, "{} attempts", backend.attempts());
    drain(pipeline).await;
}

/// If the process dies after a refusal of parts or of the whole, the request is sent again: every
/// good batch arrives, and the record is finished once all of it is settled.
#[tokio::test(start_paused = true)]
async fn a_kill_in_between_loses_nothing() {
    let bad = |id: u64| id == 42;
    for answers in [1, 2, 3, 5, 8, 13] {
        let (disk, backend) = (Disk::default(), Picky::new(bad));
        let pipeline = durable(&disk, &backend).await;
        backlog(&pipeline, &disk, 100).await;
        backend.answers.store(answers, Ordering::Relaxed);
        backend.come_back();
        sleep(Duration::from_secs(60)).await;
        assert!(disk.egress("backend").contains(&42), "its record stays");
        disk.kill();
        drop(pipeline);
        sleep(Duration::from_millis(1)).await;
        backend.answers.store(usize::MAX, Ordering::Relaxed);
        let pipeline = durable(&disk, &backend).await;
        sleep(Duration::from_secs(60)).await;
        let mut taken = backend.taken();
        taken.dedup();
        assert_eq!(taken, all_but(100, bad), "{answers} answers");
        assert_eq!((disk.ingress(), disk.egress("backend")), (vec![], vec![]));
        assert_eq!(drain(pipeline).await.kept, 0);
    }
}

/// A change of exporters in between leaves the rest to the next exporter, and nothing that was
/// settled before is sent twice.
#[tokio::test(start_paused = true)]
async fn a_changed_exporter_goes_on_with_the_rest() {
    let bad = |id: u64| id == 42;
    let (disk, backend) = (Disk::default(), Picky::new(bad));
    let pipeline = durable(&disk, &backend).await;
    backlog(&pipeline, &disk, 100).await;
    backend.answers.store(7, Ordering::Relaxed);
    backend.come_back();
    sleep(Duration::from_secs(60)).await;
    let next = Picky::new(bad);
    next.come_back();
    pipeline.set_exporters(with(&next, 2).exporters);
    sleep(Duration::from_secs(60)).await;
    let mut taken = [backend.taken(), next.taken()].concat();
    taken.sort_unstable();
    assert_eq!(taken, all_but(100, bad));
    assert_eq!((disk.ingress(), disk.egress("backend")), (vec![], vec![]));
    drain(pipeline).await;
}

/// A backend that refuses everything gets a bounded number of attempts for each record.
#[tokio::test(start_paused = true)]
async fn a_backend_that_refuses_everything_is_not_asked_for_ever() {
    let (disk, backend) = (Disk::default(), Picky::new(|_| true));
    let pipeline = durable(&disk, &backend).await;
    backlog(&pipeline, &disk, 4000).await;
    let records = disk.records("backend");
    backend.come_back();
    sleep(Duration::from_secs(60)).await;
    assert_eq!(pipeline.ledger().books().exporters[0].failed, 4000);
    assert_eq!((disk.ingress(), disk.egress("backend")), (vec![], vec![]));
    let most = 2 + records * 513;
    assert!(
        backend.attempts() <= most,
        "{} attempts",
        backend.attempts()
    );
    drain(pipeline).await;
}

/// A backend that would refuse any data, because of the credentials for example, is asked once for
/// each record.
#[tokio::test(start_paused = true)]
async fn what_is_not_of_the_data_is_not_halved() {
    let (disk, backend) = (Disk::default(), Picky::new(|_| true));
    *backend.refuses.lock().unwrap() = Refuses::Everything;
    let pipeline = durable(&disk, &backend).await;
    backlog(&pipeline, &disk, 1000).await;
    backend.come_back();
    sleep(Duration::from_secs(60)).await;
    assert_eq!(pipeline.ledger().books().exporters[0].failed, 1000);
    assert_eq!((disk.ingress(), disk.egress("backend")), (vec![], vec![]));
    // The first two attempts have no record yet: those batches were in the queue while the backend
    // was unavailable.
    assert!(
        backend.attempts() < 2 + 10,
        "{} attempts",
        backend.attempts()
    );
    drain(pipeline).await;
}

/// Makes a pipeline with twenty batches in one request, in memory; a slow backend refuses one of
/// them.
async fn slow_and_merged(backend: &Arc<Picky>) -> Pipeline {
    *backend.pace.lock().unwrap() = Duration::from_secs(100);
    backend.come_back();
    let mut config = with(backend, 100);
    config.exporters[0].batcher = Some(BatcherConfig {
        flush_timeout: Duration::from_secs(1),
        min_size: 100,
        max_size: 0,
        ..BatcherConfig::default()
    });
    let pipeline = Pipeline::build(config).await.unwrap();
    for id in 0..20 {
        offer(&pipeline, spans([id])).await.unwrap();
    }
    pipeline
}

/// Each part has the time limit of a request, from the last answer on, although the parts before
/// took longer than that limit.
#[tokio::test(start_paused = true)]
async fn slow_answers_leave_the_next_part_its_time() {
    for gap in 4..8 {
        let backend = Picky::new(|id| id == 7);
        *backend.gaps.lock().unwrap() = gap..gap + 1;
        let pipeline = slow_and_merged(&backend).await;
        sleep(Duration::from_secs(3600)).await;
        assert_eq!(backend.taken(), all_but(20, |id| id == 7), "{gap}");
        let books = pipeline.ledger().books();
        let column = &books.exporters[0];
        assert_eq!((column.failed, column.expired, column.sent), (1, 0, 19));
        drain(pipeline).await;
    }
}

/// A backend that becomes unavailable permanently takes the time of one request, not that of each
/// part.
#[tokio::test(start_paused = true)]
async fn parts_do_not_wait_one_after_the_other() {
    let backend = Picky::new(|id| id == 7);
    *backend.gaps.lock().unwrap() = 3..usize::MAX;
    let pipeline = slow_and_merged(&backend).await;
    sleep(Duration::from_secs(1 + 3 * 100)).await;
    *backend.pace.lock().unwrap() = Duration::from_secs(1);
    sleep(Duration::from_secs(100 + 300 + 20)).await;
    let books = pipeline.ledger().books();
    let column = &books.exporters[0];
    assert!(books.is_settled() && column.expired > 1, "{books}");
    assert_eq!(column.sent + column.expired, 20);
    drain(pipeline).await;
}

/// The batcher still knows the batches that it merged: the sender of the bad one is told, and the
/// others get their OK. Of a batch that came as one, only the bad part is lost.
#[tokio::test(start_paused = true)]
async fn only_the_sender_of_the_bad_batch_is_told() {
    let backend = Picky::new(|id| id == 7);
    backend.come_back();
    let mut config = with(&backend, 100);
    config.ack_on = AckOn::Export;
    config.exporters[0].batcher = Some(BatcherConfig {
        flush_timeout: Duration::from_secs(1),
        min_size: 100,
        max_size: 0,
        ..BatcherConfig::default()
    });
    let pipeline = Pipeline::build(config).await.unwrap();
    // The fourth batch has two resources, of which one is bad.
    let batch = |number: u64| match number {
        3 => Bytes::from([spans([6]), spans([7])].concat()),
        _ => spans([number * 2, number * 2 + 1]),
    };
    let answers = join_all((0..10).map(|number| offer(&pipeline, batch(number)))).await;
    for (number, answer) in answers.into_iter().enumerate() {
        match number {
            3 => assert!(matches!(answer, Err(Refused::Rejected)), "{answer:?}"),
            _ => assert!(answer.is_ok(), "{number}: {answer:?}"),
        }
    }
    assert_eq!(backend.taken(), all_but(20, |id| id == 7));
    assert_eq!(pipeline.ledger().books().exporters[0].failed, 1);
    assert!(backend.attempts() <= 11, "{} attempts", backend.attempts());
    drain(pipeline).await;
}
