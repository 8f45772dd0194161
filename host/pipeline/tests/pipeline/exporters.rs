//! Tests of changes to the exporters of a running pipeline: unchanged exporters stay as they are,
//! admitted batches leave by the exporters that were there, and every item is accounted for.

mod chaos;

use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use spandrel_pipeline::backoff::RetryConfig;
use spandrel_pipeline::batcher::BatcherConfig;
use spandrel_pipeline::egress::ExporterSpec;
use spandrel_pipeline::exporter::{Exporter, Outcome, Refuses};
use spandrel_pipeline::ledger::{Books, ExporterBooks};
use spandrel_pipeline::pipeline::Pipeline;
use spandrel_pipeline::queue::{QueueConfig, Sizer};
use spandrel_wire::Signal;
use tokio::task::yield_now;
use tokio::time::{Instant, sleep, timeout};

use crate::edges::*;
use crate::gate::gated;

/// Makes an exporter of this name, with room for 100 requests.
fn named(name: &str, backend: &Arc<Backend>) -> ExporterSpec {
    ExporterSpec {
        name: name.to_owned(),
        ..exporter(backend, 100)
    }
}

async fn pipeline(exporters: Vec<ExporterSpec>) -> Pipeline {
    Pipeline::build(config(vec![], exporters)).await.unwrap()
}

/// Returns a figure of each column; exporters that were there first come first.
fn columns(books: &Books, of: fn(&ExporterBooks) -> u64) -> Vec<u64> {
    books.exporters.iter().map(of).collect()
}

fn missed(books: &Books) -> Vec<u64> {
    let exporters = books.exporters.iter();
    exporters.map(|exporter| books.missed(exporter)).collect()
}

/// An unchanged exporter goes on in the middle of its retries, with its queue and in order; a new
/// exporter gets the batches that arrive from then on.
#[tokio::test(start_paused = true)]
async fn what_did_not_change_is_not_touched() {
    let stays = Backend::new([Reaction::Busy, Reaction::Busy, Reaction::Take]);
    let comes = Backend::new([]);
    let pipeline = pipeline(vec![named("stays", &stays)]).await;
    for id in 0..3 {
        offer(&pipeline, spans([id])).await.unwrap();
    }
    pipeline.set_exporters(vec![named("comes", &comes), named("stays", &stays)]);
    offer(&pipeline, spans([3])).await.unwrap();
    sleep(Duration::from_secs(60)).await;
    assert_eq!(stays.requests.lock().unwrap().concat(), [0, 1, 2, 3]);
    assert_eq!(comes.taken(), [3]);
    let books = pipeline.ledger().books();
    assert_eq!(columns(&books, |column| column.attempts), [6, 1]);
    assert_eq!(missed(&books), [0, 3]);
    assert!(!books.exporters[0].absent && books.exporters[1].absent);
    drain(pipeline).await;
}

/// Whichever of its settings changes, an exporter keeps the batches that wait for it: those in the
/// queue, and those between two attempts, whose next attempt is made at once. They stay in one
/// column of the books, from which nothing is missing.
#[tokio::test(start_paused = true)]
async fn what_changed_takes_its_queue_along() {
    let changes: [fn(&mut ExporterSpec, &Arc<Backend>); 6] = [
        |spec, new| spec.exporter = Arc::clone(new) as Arc<dyn Exporter>,
        |spec, _| spec.queue.queue_size = 50,
        |spec, _| spec.queue.queue_size = 1,
        |spec, _| spec.queue.sizer = Sizer::Bytes,
        |spec, _| spec.batcher = Some(BatcherConfig::default()),
        |spec, _| spec.retry.max_elapsed_time = Duration::from_secs(600),
    ];
    for (number, change) in changes.into_iter().enumerate() {
        let (old, new) = (Backend::new([Reaction::Busy]), Backend::new([]));
        let before = named("backend", &old);
        let pipeline = pipeline(vec![before.clone()]).await;
        for id in 0..3 {
            offer(&pipeline, spans([id])).await.unwrap();
        }
        sleep(Duration::from_millis(1)).await;
        old.react(Reaction::Take);
        let mut after = before;
        change(&mut after, &new);
        pipeline.set_exporters(vec![after.clone()]);
        let fill = pipeline.queues();
        assert_eq!(fill.len(), 1, "one column");
        assert_eq!(fill[0].capacity, after.queue.queue_size);
        // Its batcher may wait for more.
        sleep(Duration::from_millis(500)).await;
        assert_eq!([old.taken(), new.taken()].concat(), [0, 1, 2], "{number}");
        assert_eq!(pipeline.queues()[0].bytes, 0);
        offer(&pipeline, spans([3])).await.unwrap();
        sleep(Duration::from_millis(500)).await;
        assert_eq!([old.taken(), new.taken()].concat(), [0, 1, 2, 3]);
        let books = pipeline.ledger().books();
        assert_eq!(columns(&books, |column| column.sent), [4]);
        assert!(!books.exporters[0].absent);
        drain(pipeline).await;
    }
}

/// An attempt that runs ends with the settings with which it began; if it fails, the next one uses
/// the new ones. A batch that was refused because of the settings is sent again with other
/// settings.
#[tokio::test(start_paused = true)]
async fn attempts_in_flight_end_as_they_began() {
    for taken in [true, false] {
        let reaction = match taken {
            true => Reaction::TakeAfter(Duration::from_secs(3)),
            false => Reaction::Hang,
        };
        let (old, new) = (Backend::new([reaction]), Backend::new([]));
        let slow = Arc::new(Patient(Arc::clone(&old) as Arc<dyn Exporter>));
        let mut spec = named("backend", &old);
        spec.exporter = slow;
        let pipeline = pipeline(vec![spec]).await;
        offer(&pipeline, spans([1])).await.unwrap();
        sleep(Duration::from_secs(1)).await;
        pipeline.set_exporters(vec![named("backend", &new)]);
        offer(&pipeline, spans([2])).await.unwrap();
        sleep(Duration::from_secs(5)).await;
        let expected = match taken {
            true => (vec![1], vec![2]),
            false => (vec![], vec![1, 2]),
        };
        assert_eq!((old.taken(), new.taken()), expected);
        assert_eq!(Arc::strong_count(&old), 1, "only the test has it");
        drain(pipeline).await;
    }
}

/// Gives an attempt up after 5 s, and then reports that the settings are at fault.
#[derive(Debug)]
struct Patient(Arc<dyn Exporter>);

impl Exporter for Patient {
    fn export(&self, signal: Signal, batch: Bytes) -> BoxFuture<'_, Outcome> {
        Box::pin(async move {
            let outcome = timeout(Duration::from_secs(5), self.0.export(signal, batch)).await;
            outcome.unwrap_or_else(|_| Outcome::Permanent {
                refuses: Refuses::Everything,
                error: "nobody there".to_owned(),
            })
        })
    }
}

/// A queue that becomes smaller than its contents loses nothing, and takes nothing until there is
/// room by the new bound; a queue that is reloaded over and over in an outage does not grow.
#[tokio::test(start_paused = true)]
async fn a_smaller_queue_keeps_what_it_has() {
    let backend = Backend::new([Reaction::Busy]);
    let mut spec = exporter(&backend, 10);
    let pipeline = pipeline(vec![spec.clone()]).await;
    for id in 0..10 {
        offer(&pipeline, spans([id])).await.unwrap();
    }
    for _ in 0..100 {
        spec.queue.queue_size = if spec.queue.queue_size == 10 { 4 } else { 10 };
        pipeline.set_exporters(vec![spec.clone()]);
        assert!(offer(&pipeline, spans([10])).await.is_err());
        sleep(Duration::from_millis(1)).await;
    }
    spec.queue.queue_size = 4;
    pipeline.set_exporters(vec![spec.clone()]);
    assert_eq!(pipeline.queues()[0].size, 10);
    spec.queue.num_consumers = 3;
    backend.react(Reaction::TakeAfter(Duration::from_secs(1)));
    pipeline.set_exporters(vec![spec]);
    let mut taken = Vec::new();
    for id in 10..20 {
        taken.push(offer(&pipeline, spans([id])).await.is_ok());
        sleep(Duration::from_millis(1001)).await;
    }
    assert_eq!(taken[..3], [false, false, false], "10, 7 and 4 of 4");
    assert!(taken[3..].iter().all(|taken| *taken), "{taken:?}");
    drain(pipeline).await;
    let left = [(0..10).collect::<Vec<_>>(), (13..20).collect()].concat();
    assert_eq!(backend.taken(), left);
}

/// A batch on its way through the stages leaves by the exporters that were there when it came in; a
/// removed exporter ends, and drops its backend, only after that batch.
#[tokio::test(start_paused = true)]
async fn batches_leave_as_they_were_admitted() {
    let (removed, added) = (Backend::new([]), Backend::new([]));
    let (stage, gate) = gated();
    let exporters = vec![named("removed", &removed)];
    let pipeline = Pipeline::build(config(vec![stage], exporters))
        .await
        .unwrap();
    let old = Arc::downgrade(&removed);
    let requests = || removed.requests.lock().unwrap().concat();
    let offered = offer(&pipeline, spans([1]));
    let changed = async {
        gate.entered(1).await;
        pipeline.set_exporters(vec![named("added", &added)]);
        sleep(Duration::from_secs(5)).await;
        assert_eq!(old.strong_count(), 2, "a batch is on its way to it");
        gate.open();
    };
    let (answer, ()) = tokio::join!(offered, changed);
    answer.unwrap();
    offer(&pipeline, spans([2])).await.unwrap();
    sleep(Duration::from_secs(1)).await;
    assert_eq!((requests(), added.taken()), (vec![1], vec![2]));
    assert_eq!(old.strong_count(), 1, "only the test has it");
    assert_eq!(missed(&pipeline.ledger().books()), [1, 1]);
    drain(pipeline).await;
}

/// Held items leave by the exporters that exist when they are released.
#[tokio::test(start_paused = true)]
async fn held_items_leave_by_the_exporters_of_the_day() {
    let (old, new) = (Backend::new([]), Backend::new([]));
    let stages = vec![holding(Some(Duration::from_secs(10)))];
    let exporters = vec![named("old", &old)];
    let pipeline = Pipeline::build(config(stages, exporters)).await.unwrap();
    offer(&pipeline, spans([1, 2])).await.unwrap();
    pipeline.set_exporters(vec![named("new", &new)]);
    sleep(Duration::from_secs(11)).await;
    assert_eq!((old.taken(), new.taken()), (vec![], vec![1, 2]));
    drain(pipeline).await;
}

/// Senders and released items that wait for room in the queue of a dead backend go on at once when
/// the backend is replaced.
#[tokio::test(start_paused = true)]
async fn who_waits_for_room_begins_anew() {
    let (dead, alive) = (Backend::new([Reaction::Hang]), Backend::new([]));
    let mut full = exporter(&dead, 1);
    full.queue.block_on_overflow = true;
    let stages = vec![holding(Some(Duration::from_secs(1)))];
    for (stages, waits_for) in [(vec![], 30), (stages, 60)] {
        let pipeline = Pipeline::build(config(stages, vec![full.clone()]))
            .await
            .unwrap();
        offer(&pipeline, spans([1])).await.unwrap();
        let change = async {
            sleep(Duration::from_secs(5)).await;
            let begun = Instant::now();
            pipeline.set_exporters(vec![named("alive", &alive)]);
            begun
        };
        let wait = async {
            for id in 2..4 {
                offer(&pipeline, spans([id])).await.unwrap();
                sleep(Duration::from_millis(1500)).await;
            }
        };
        let ((), changed) = timeout(Duration::from_secs(waits_for), async {
            tokio::join!(wait, change)
        })
        .await
        .expect("nobody waits for a backend that is not there any more");
        sleep(Duration::from_millis(1)).await;
        assert!(changed.elapsed() < Duration::from_secs(5));
        assert!(alive.taken().ends_with(&[3]), "{:?}", alive.taken());
        alive.requests.lock().unwrap().clear();
        let ledger = Arc::clone(pipeline.ledger());
        assert!(
            !drain(pipeline).await.in_time,
            "the dead one has some still"
        );
        assert!(ledger.books().exporters[0].abandoned > 0);
    }
}

/// A drain waits for the batches of retired exporters, and for nothing more.
#[tokio::test(start_paused = true)]
async fn a_drain_waits_for_the_retired() {
    let (slow, new) = (
        Backend::new([Reaction::TakeAfter(Duration::from_secs(9))]),
        Backend::new([]),
    );
    let pipeline = pipeline(vec![named("slow", &slow)]).await;
    for id in 0..2 {
        offer(&pipeline, spans([id])).await.unwrap();
    }
    yield_now().await;
    pipeline.set_exporters(vec![named("new", &new)]);
    let begun = Instant::now();
    assert!(drain(pipeline).await.in_time);
    assert_eq!(begun.elapsed().as_secs(), 18);
    assert_eq!(slow.taken(), [0, 1]);
}

/// The drain's deadline applies to retired exporters, too; their batches are abandoned then.
#[tokio::test(start_paused = true)]
async fn the_deadline_holds_for_the_retired() {
    let (dead, new) = (Backend::new([Reaction::Hang]), Backend::new([]));
    let pipeline = pipeline(vec![named("dead", &dead)]).await;
    for id in 0..3 {
        offer(&pipeline, spans([id])).await.unwrap();
    }
    pipeline.set_exporters(vec![named("new", &new)]);
    let ledger = Arc::clone(pipeline.ledger());
    assert!(!drain(pipeline).await.in_time);
    assert_eq!(columns(&ledger.books(), |column| column.abandoned), [3, 0]);
}

/// An exporter that takes everything into one shared list.
#[derive(Debug)]
struct Into(Arc<Mutex<Vec<u64>>>);

impl Exporter for Into {
    fn export(&self, _: Signal, batch: Bytes) -> BoxFuture<'_, Outcome> {
        self.0.lock().unwrap().extend(ids(&batch));
        Box::pin(std::future::ready(Outcome::Sent))
    }
}

/// With a thousand changes under traffic, and items held across them, everything arrives once, the
/// books balance at every check, and nothing of a replaced exporter is left.
#[tokio::test(start_paused = true)]
async fn a_thousand_changes_leave_nothing_behind() {
    let taken = Arc::new(Mutex::new(Vec::new()));
    let mut replaced: Vec<Weak<Into>> = Vec::new();
    let mut spec = |taken: &Arc<Mutex<Vec<u64>>>| {
        let exporter = Arc::new(Into(Arc::clone(taken)));
        replaced.push(Arc::downgrade(&exporter));
        ExporterSpec {
            name: "backend".to_owned(),
            exporter,
            queue: QueueConfig::default(),
            batcher: None,
            retry: RetryConfig::default(),
        }
    };
    let stages = vec![holding(Some(Duration::from_millis(7)))];
    let pipeline = Pipeline::build(config(stages, vec![spec(&taken)]))
        .await
        .unwrap();
    for change in 0..1000 {
        offer(&pipeline, spans(change * 5..change * 5 + 5))
            .await
            .unwrap();
        pipeline.set_exporters(vec![spec(&taken)]);
        let books = pipeline.ledger().books();
        assert!(books.is_balanced(), "{books}");
        assert_eq!(books.exporters.len(), 1);
        sleep(Duration::from_millis(1)).await;
    }
    sleep(Duration::from_secs(1)).await;
    let alive = replaced
        .iter()
        .filter(|exporter| exporter.strong_count() > 0);
    assert_eq!(alive.count(), 1, "the last");
    drain(pipeline).await;
    let mut taken = std::mem::take(&mut *taken.lock().unwrap());
    taken.sort_unstable();
    assert_eq!(taken, (0..5000).collect::<Vec<_>>());
}
