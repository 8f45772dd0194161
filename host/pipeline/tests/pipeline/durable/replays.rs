//! Tests of batches that go through the stages again: after a fault, and after the end of a
//! process.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::BoxFuture;
use spandrel_pipeline::pipeline::RetryAnswer;
use spandrel_pipeline::stage::{
    DrainReason, Emission, Fault, FaultKind, FaultPolicy, Generation, Input, Instance,
    InstantiateError, Manifest, Reply, StageSpec, Ticket,
};
use tokio::time::sleep;

use super::{build, kill};
use crate::disk::Disk;
use crate::edges::*;

/// Makes a stage that fails on every batch with this span, while `fails` is true.
fn failing_on(poison: u64, fails: &Arc<AtomicBool>) -> StageSpec {
    let fails = Arc::clone(fails);
    let mut spec = stage(Manifest::default(), move |_| {
        let fails = Arc::clone(&fails);
        move |call| match call {
            Call::Process(_, batch)
                if fails.load(Ordering::Relaxed) && ids(batch).contains(&poison) =>
            {
                Err(Fault::new(FaultKind::Trap, "panicked"))
            }
            _ => Ok(Reply::default()),
        }
    });
    spec.on_fault = FaultPolicy::Refuse;
    spec
}

/// With `on_fault: refuse` a batch on which the plugin fails goes back to the journal, and comes
/// again: it arrives once the plugin works on it.
#[tokio::test(start_paused = true)]
async fn a_fault_sends_back() {
    let (disk, backend) = (Disk::default(), Backend::new([]));
    let fails = Arc::new(AtomicBool::new(true));
    let pipeline = build(&disk, vec![failing_on(1, &fails)], &backend).await;
    offer(&pipeline, spans([1])).await.unwrap();
    offer(&pipeline, spans([2])).await.unwrap();
    sleep(Duration::from_millis(500)).await;
    let books = pipeline.ledger().books();
    assert_eq!((books.journaled, books.refused), (1, 0), "{books}");
    assert_eq!((backend.taken(), disk.ingress()), (vec![2], vec![1]));
    fails.store(false, Ordering::Relaxed);
    sleep(Duration::from_secs(2)).await;
    assert_eq!((backend.taken(), disk.ingress()), (vec![1, 2], vec![]));
    assert_eq!(pipeline.ledger().books().kept_on_disk(), 0);
    drain(pipeline).await;
}

/// The third failure on a batch puts it into quarantine, as it was accepted; while the quarantine
/// is full, the batch stays in the journal.
#[tokio::test(start_paused = true)]
async fn the_third_failure_quarantines() {
    let (disk, backend) = (Disk::default(), Backend::new([]));
    disk.set(|condition| condition.quarantine_full = true);
    let fails = Arc::new(AtomicBool::new(true));
    let pipeline = build(&disk, vec![failing_on(1, &fails)], &backend).await;
    offer(&pipeline, spans([1])).await.unwrap();
    offer(&pipeline, spans([2])).await.unwrap();
    sleep(Duration::from_secs(60)).await;
    assert_eq!((disk.ingress(), disk.quarantine().len()), (vec![1], 0));
    disk.set(|condition| condition.quarantine_full = false);
    sleep(Duration::from_secs(60)).await;
    let quarantine = disk.quarantine();
    assert_eq!((disk.ingress(), quarantine.len()), (vec![], 1));
    assert_eq!(
        (ids(&quarantine[0].request), quarantine[0].attempts),
        (vec![1], 3)
    );
    assert_eq!(
        quarantine[0].reason,
        "stage `native` failed: trap: panicked"
    );
    let books = pipeline.ledger().books();
    assert_eq!(books.quarantined, 1);
    assert_eq!(books.stages[0].faults.iter().sum::<u64>(), 3);
    drain(pipeline).await;
    assert_eq!(backend.taken(), [2]);
}

/// A batch whose last try failed before another generation came is not put into quarantine before
/// that generation was asked. Until then it is in the list, with the plugin's words; tries beyond
/// the first are counted separately.
#[tokio::test(start_paused = true)]
async fn a_new_generation_is_asked_before_the_quarantine() {
    let (disk, backend) = (Disk::default(), Backend::new([]));
    disk.set(|condition| condition.quarantine_full = true);
    let fails = Arc::new(AtomicBool::new(true));
    let bad = failing_on(1, &fails);
    let pipeline = build(&disk, vec![bad.clone()], &backend).await;
    offer(&pipeline, spans([1])).await.unwrap();
    offer(&pipeline, spans([2])).await.unwrap();
    sleep(Duration::from_secs(30)).await;
    let retries = pipeline.retries().unwrap();
    let waiting = retries.list();
    assert_eq!(
        (waiting.len(), waiting[0].items, waiting[0].attempts),
        (1, 1, 3)
    );
    assert_eq!(waiting[0].reason, "stage `native` failed: trap: panicked");
    let books = pipeline.ledger().books();
    let column = &books.stages[0];
    assert_eq!(
        (column.input, column.output, column.retried),
        (2, 1, 2),
        "{books}"
    );

    let mut good = stage(Manifest::default(), |_| |_| Ok(Reply::default()));
    good.on_fault = FaultPolicy::Refuse;
    pipeline.change(vec![good]).await.unwrap();
    disk.set(|condition| condition.quarantine_full = false);
    sleep(Duration::from_secs(60)).await;
    assert_eq!((backend.taken(), disk.quarantine().len()), (vec![1, 2], 0));
    assert_eq!((disk.ingress(), retries.list()), (vec![], vec![]));
    drain(pipeline).await;
}

/// A new generation that fails as well is asked only once for each change. A batch that an operator
/// asks for gets all of its tries again.
#[tokio::test(start_paused = true)]
async fn a_change_gives_one_more_try() {
    let (disk, backend) = (Disk::default(), Backend::new([]));
    disk.set(|condition| condition.quarantine_full = true);
    let fails = Arc::new(AtomicBool::new(true));
    let pipeline = build(&disk, vec![failing_on(1, &fails)], &backend).await;
    offer(&pipeline, spans([1])).await.unwrap();
    sleep(Duration::from_secs(30)).await;
    pipeline.change(vec![failing_on(1, &fails)]).await.unwrap();
    sleep(Duration::from_secs(60)).await;
    let retries = pipeline.retries().unwrap();
    let faults = || {
        pipeline.ledger().books().stages[0]
            .faults
            .iter()
            .sum::<u64>()
    };
    assert_eq!((faults(), retries.list()[0].attempts), (4, 3));
    let record = retries.list()[0].record;
    assert_eq!(retries.now(record), RetryAnswer::Now);
    sleep(Duration::from_millis(10)).await;
    assert_eq!((faults(), retries.list()[0].attempts), (5, 1));
    disk.set(|condition| condition.quarantine_full = false);
    sleep(Duration::from_secs(60)).await;
    assert_eq!((disk.quarantine().len(), disk.ingress()), (1, vec![]));
    assert_eq!(retries.now(record), RetryAnswer::Gone);
    drain(pipeline).await;
}

/// A plugin that fails on everything for a while costs time, and puts no batch into quarantine that
/// it was not asked about.
#[tokio::test(start_paused = true)]
async fn a_broken_plugin_quarantines_little() {
    let (disk, backend) = (Disk::default(), Backend::new([]));
    let fails = Arc::new(AtomicBool::new(true));
    let broken = Arc::clone(&fails);
    let mut spec = stage(Manifest::default(), move |_| {
        let broken = Arc::clone(&broken);
        move |_| match broken.load(Ordering::Relaxed) {
            true => Err(Fault::new(FaultKind::Trap, "panicked")),
            false => Ok(Reply::default()),
        }
    });
    spec.on_fault = FaultPolicy::Refuse;
    let pipeline = build(&disk, vec![spec], &backend).await;
    for id in 0..100 {
        offer(&pipeline, spans([id])).await.unwrap();
    }
    sleep(Duration::from_secs(20)).await;
    fails.store(false, Ordering::Relaxed);
    sleep(Duration::from_secs(300)).await;
    let quarantined = disk.quarantine().len();
    assert!(quarantined <= 3, "{quarantined} in quarantine");
    assert_eq!(backend.taken().len() + quarantined, 100);
    assert_eq!(disk.ingress(), []);
    drain(pipeline).await;
}

/// A batch that ends the process each time is in quarantine after three tries besides the first
/// one, and all other batches arrive.
#[tokio::test(start_paused = true)]
async fn poison_is_quarantined_after_three_tries() {
    let (disk, backend) = (Disk::default(), Backend::new([]));
    let deaths = Arc::new(AtomicUsize::new(0));
    for process in 0..10 {
        let (stage, gate) = crate::gate::gated_on(|ids| ids.contains(&7));
        let pipeline = build(&disk, vec![stage], &backend).await;
        if process == 0 {
            for id in 0..60 {
                offer(&pipeline, spans([id])).await.unwrap();
            }
        }
        sleep(Duration::from_secs(1)).await;
        disk.checkpoint();
        if gate.has_entered() {
            deaths.fetch_add(1, Ordering::Relaxed);
            kill(&disk, pipeline).await;
        } else {
            drain(pipeline).await;
            break;
        }
    }
    assert_eq!(deaths.load(Ordering::Relaxed), 4);
    let quarantine = disk.quarantine();
    assert_eq!((quarantine.len(), quarantine[0].attempts), (1, 3));
    assert_eq!(ids(&quarantine[0].request), [7]);
    assert!(
        quarantine[0].reason.contains("process"),
        "{}",
        quarantine[0].reason
    );
    let mut arrived = backend.taken();
    arrived.dedup();
    assert_eq!(arrived, (0..60).filter(|id| *id != 7).collect::<Vec<_>>());
    assert_eq!(disk.ingress(), []);
}

/// A damaged record is counted and gone, and the records around it arrive.
#[tokio::test(start_paused = true)]
async fn damage_is_counted() {
    let (disk, backend) = (Disk::default(), Backend::new([]));
    let pipeline = build(&disk, vec![holding(None)], &backend).await;
    for id in 0..10 {
        offer(&pipeline, spans([2 * id, 2 * id + 1])).await.unwrap();
    }
    kill(&disk, pipeline).await;
    assert_eq!(disk.damage("", 3), [6, 7]);
    let pipeline = build(&disk, vec![], &backend).await;
    sleep(Duration::from_secs(1)).await;
    let books = pipeline.ledger().books();
    assert_eq!((books.replayed, books.damaged), (20, 2));
    assert_eq!(backend.taken().len(), 18);
    assert_eq!(disk.ingress(), []);
    drain(pipeline).await;
}

/// Makes a stage that takes this long for each batch, and records the spans that it saw.
fn slow(pause: Duration) -> (StageSpec, Arc<Mutex<Vec<u64>>>) {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let generation = Slow(pause, Arc::clone(&seen), Manifest::default());
    (StageSpec::new("slow", Arc::new(generation)), seen)
}

#[derive(Clone, Debug)]
struct Slow(Duration, Arc<Mutex<Vec<u64>>>, Manifest);

impl Generation for Slow {
    fn manifest(&self) -> &Manifest {
        &self.2
    }

    fn instantiate(&self) -> BoxFuture<'_, Result<Box<dyn Instance>, InstantiateError>> {
        Box::pin(async move { Ok(Box::new(self.clone()) as Box<dyn Instance>) })
    }
}

impl Instance for Slow {
    fn process<'a>(
        &'a mut self,
        _: Ticket,
        input: &'a Input,
    ) -> BoxFuture<'a, Result<Reply, Fault>> {
        Box::pin(async {
            sleep(self.0).await;
            self.1.lock().unwrap().extend(ids(input.bytes()));
            Ok(Reply::default())
        })
    }

    fn tick(&mut self) -> BoxFuture<'_, Result<Emission, Fault>> {
        Box::pin(std::future::ready(Ok(Emission::default())))
    }

    fn drain(&mut self, _: DrainReason, _: Duration) -> BoxFuture<'_, Result<Emission, Fault>> {
        Box::pin(std::future::ready(Ok(Emission::default())))
    }
}

/// The backlog does not keep fresh batches out, and they do not keep it out.
#[tokio::test(start_paused = true)]
async fn backlog_and_fresh_batches_take_turns() {
    let (disk, backend) = (Disk::default(), Backend::new([]));
    let pipeline = build(&disk, vec![holding(None)], &backend).await;
    for id in 0..1000 {
        offer(&pipeline, spans([id])).await.unwrap();
    }
    kill(&disk, pipeline).await;
    let (stage, seen) = slow(Duration::from_millis(1));
    let pipeline = build(&disk, vec![stage], &backend).await;
    for id in 1000..1400 {
        offer(&pipeline, spans([id])).await.unwrap();
    }
    sleep(Duration::from_secs(3)).await;
    let seen = seen.lock().unwrap().clone();
    assert_eq!(seen.len(), 1400);
    let fresh = |id: &&u64| **id >= 1000;
    let early = seen[..700].iter().filter(fresh).count();
    assert!((200..=400).contains(&early), "{early} fresh of 700");
    drain(pipeline).await;
}
