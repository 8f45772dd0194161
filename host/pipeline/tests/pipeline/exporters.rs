//! The exporters of a running pipeline change: what did not change stays as it is, what was admitted
//! leaves by the exporters that were there, and every item is accounted for.

mod chaos;

use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use spandrel_pipeline::backoff::RetryConfig;
use spandrel_pipeline::batcher::BatcherConfig;
use spandrel_pipeline::egress::ExporterSpec;
use spandrel_pipeline::exporter::{Exporter, Outcome};
use spandrel_pipeline::ledger::{Books, ExporterBooks};
use spandrel_pipeline::pipeline::Pipeline;
use spandrel_pipeline::queue::QueueConfig;
use spandrel_wire::Signal;
use tokio::task::yield_now;
use tokio::time::{Instant, sleep, timeout};

use crate::edges::*;
use crate::gate::gated;

/// An exporter of this name, with room for 100 requests.
fn named(name: &str, backend: &Arc<Backend>) -> ExporterSpec {
    ExporterSpec {
        name: name.to_owned(),
        ..exporter(backend, 100)
    }
}

async fn pipeline(exporters: Vec<ExporterSpec>) -> Pipeline {
    Pipeline::build(config(vec![], exporters)).await.unwrap()
}

/// A figure of each column: those that were there first come first.
fn columns(books: &Books, of: fn(&ExporterBooks) -> u64) -> Vec<u64> {
    books.exporters.iter().map(of).collect()
}

fn missed(books: &Books) -> Vec<u64> {
    let exporters = books.exporters.iter();
    exporters.map(|exporter| books.missed(exporter)).collect()
}

/// An exporter of which nothing changed goes on in the middle of its retries, with its queue and in
/// order; one that comes gets what comes from then on.
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

/// Each of the settings makes an exporter another: what was queued goes out by the old ones, what
/// comes then by the new ones, in one column of the books from which nothing is missing.
#[tokio::test(start_paused = true)]
async fn what_changed_is_replaced() {
    let (old, new) = (
        Backend::new([Reaction::Busy, Reaction::Take]),
        Backend::new([]),
    );
    let changes: [fn(&mut ExporterSpec, &Arc<Backend>); 4] = [
        |spec, new| spec.exporter = Arc::clone(new) as Arc<dyn Exporter>,
        |spec, _| spec.queue.queue_size = 50,
        |spec, _| spec.batcher = Some(BatcherConfig::default()),
        |spec, _| spec.retry.max_elapsed_time = Duration::from_secs(600),
    ];
    for change in changes {
        let before = named("backend", &old);
        old.react(Reaction::Busy);
        let pipeline = pipeline(vec![before.clone()]).await;
        offer(&pipeline, spans([1])).await.unwrap();
        let mut after = before;
        change(&mut after, &new);
        pipeline.set_exporters(vec![after.clone()]);
        let fill = pipeline.queues();
        assert_eq!(fill.len(), 1, "one column");
        assert_eq!(
            (fill[0].size, fill[0].capacity),
            (1, after.queue.queue_size)
        );
        sleep(Duration::from_millis(1)).await;
        old.react(Reaction::Take);
        offer(&pipeline, spans([2])).await.unwrap();
        sleep(Duration::from_secs(1)).await;
        assert_eq!(
            [old.taken(), new.taken()].concat(),
            [2],
            "1 waits in the old queue"
        );
        sleep(Duration::from_secs(10)).await;
        let mut taken = [old.taken(), new.taken()].concat();
        taken.sort_unstable();
        assert_eq!(taken, [1, 2]);
        let books = pipeline.ledger().books();
        assert_eq!(columns(&books, |column| column.sent), [2]);
        assert!(!books.exporters[0].absent);
        drain(pipeline).await;
        for backend in [&old, &new] {
            backend.requests.lock().unwrap().clear();
        }
    }
}

/// A batch on its way through the stages leaves by the exporters that were there when it came in;
/// the removed one ends, and lets go of its backend, only after it.
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

/// What a plugin holds leaves by the exporters of the moment when it is released.
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

/// Whoever waits for room in the queue of a dead backend goes on at once when the backend is
/// replaced: senders, and what plugins release.
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

/// A drain waits for what retired exporters still have, and for nothing more.
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

/// The drain's deadline holds for retired exporters, too; what they have is abandoned then.
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

/// Takes everything into one place, whichever of them it is.
#[derive(Debug)]
struct Into(Arc<Mutex<Vec<u64>>>);

impl Exporter for Into {
    fn export(&self, _: Signal, batch: Bytes) -> BoxFuture<'_, Outcome> {
        self.0.lock().unwrap().extend(ids(&batch));
        Box::pin(std::future::ready(Outcome::Sent))
    }
}

/// A thousand changes under traffic, with items held over them: everything arrives once, the books
/// balance at every look, and nothing of an exporter that was replaced is left.
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
