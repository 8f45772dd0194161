//! Tests of how long a record is kept: also for spans that plugins make from its spans.

use std::time::Duration;

use bytes::Bytes;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use prost::Message;
use spandrel_pipeline::ingress::Ingress;
use spandrel_pipeline::pipeline::Pipeline;
use spandrel_pipeline::queue::OnFull;
use spandrel_pipeline::stage::{
    Dispatch, Emission, Fault, FaultKind, FaultPolicy, Manifest, Reply, StageSpec,
};
use spandrel_wire::Signal;
use tokio::time::{Instant, sleep};

use super::{build, kill, on};
use crate::disk::Disk;
use crate::edges::*;

/// Makes a stage that drops the spans of each batch and makes one span with an id a hundred higher:
/// at once, or when its tick releases them.
fn summing(at_tick: bool) -> StageSpec {
    let manifest = Manifest {
        holds: at_tick,
        tick_interval: at_tick.then_some(Duration::from_secs(1)),
        drop_reasons: vec!["summed".to_owned()],
        ..Manifest::default()
    };
    stage(manifest, move |_| {
        let (mut held, mut seen) = (Vec::new(), Vec::new());
        move |call| match call {
            Call::Process(ticket, batch) => {
                seen.extend(ids(batch));
                let items = ids(batch).len();
                let indices = 0..items as u64;
                held.extend(indices.flat_map(|index| [ticket, index | 2 << 32]));
                Ok(match at_tick {
                    true => Reply {
                        verdicts: vec![1; items],
                        ..Reply::default()
                    },
                    false => Reply {
                        verdicts: vec![2; items],
                        ..made(&mut seen, Vec::new())
                    },
                })
            }
            Call::Tick | Call::Drain(_) => Ok(made(&mut seen, std::mem::take(&mut held))),
        }
    })
}

fn made(seen: &mut Vec<u64>, released: Vec<u64>) -> Reply {
    let sums = seen.drain(..).min().map(|id| id + 100);
    let created = sums.map_or_else(Default::default, |id| spans([id]).to_vec());
    Reply {
        emission: Some(Emission {
            released,
            created,
            ..Emission::default()
        }),
        ..Reply::default()
    }
}

/// If a plugin makes spans from those that it drops, in one answer, the records stay until the new
/// spans are out, so a kill loses nothing.
#[tokio::test(start_paused = true)]
async fn a_record_waits_for_what_is_made_of_it() {
    for at_tick in [false, true] {
        let (disk, backend) = (Disk::default(), Backend::new([Reaction::Busy]));
        let pipeline = build(&disk, vec![summing(at_tick)], &backend).await;
        offer(&pipeline, spans([1, 2])).await.unwrap();
        sleep(Duration::from_secs(2)).await;
        let ledger = std::sync::Arc::clone(pipeline.ledger());
        let books = ledger.books();
        assert_eq!((books.dropped(), books.created), (2, 1), "{books}");
        assert_eq!(disk.ingress(), [1, 2], "at tick: {at_tick}");
        kill(&disk, pipeline).await;
        let books = ledger.books();
        assert!(books.is_balanced() && books.abandoned() == 0, "{books}");

        backend.react(Reaction::Take);
        let pipeline = build(&disk, vec![summing(at_tick)], &backend).await;
        sleep(Duration::from_secs(2)).await;
        assert_eq!((backend.taken(), disk.ingress()), (vec![101], vec![]));
        drain(pipeline).await;
    }
}

/// The OK comes from the disk: batches behind a stage that is blocked get it as soon as they are
/// written.
#[tokio::test(start_paused = true)]
async fn an_ok_does_not_wait_for_the_stages() {
    let (disk, backend) = (Disk::default(), Backend::new([]));
    disk.set(|condition| condition.delay = Duration::from_millis(100));
    let (stage, gate) = crate::gate::gated();
    let pipeline = build(&disk, vec![stage], &backend).await;
    let started = Instant::now();
    let offers = (0..200).map(|id| offer(&pipeline, spans([id])));
    let answers = futures_util::future::join_all(offers).await;
    assert!(answers.iter().all(Result::is_ok));
    assert!(
        started.elapsed() < Duration::from_millis(500),
        "{:?}",
        started.elapsed()
    );
    assert_eq!(disk.ingress().len(), 200);
    gate.open();
    drain(pipeline).await;
    assert_eq!(backend.taken().len(), 200);
}

/// A dead shard is noticed: nothing is accepted any more, accepted batches stay in the journal, and
/// the next process delivers them.
#[tokio::test(start_paused = true)]
async fn a_dead_shard_shuts_the_door() {
    let (disk, backend) = (Disk::default(), Backend::new([]));
    let deadly = stage(Manifest::default(), |_| {
        |call| match call {
            Call::Process(_, batch) if ids(batch).contains(&3) => panic!("the host itself"),
            _ => Ok(Reply::default()),
        }
    });
    let pipeline = Pipeline::build(on(&disk, vec![deadly], &backend, 100))
        .await
        .unwrap();
    for id in 0..4 {
        offer(&pipeline, spans([id])).await.unwrap();
    }
    sleep(Duration::from_secs(1)).await;
    offer(&pipeline, spans([4])).await.unwrap_err();
    sleep(Duration::from_secs(100)).await;
    assert_eq!((disk.ingress(), disk.quarantine().len()), (vec![3], 0));
    assert_eq!(drain(pipeline).await.kept, 1);
    let pipeline = build(&disk, vec![], &backend).await;
    sleep(Duration::from_secs(1)).await;
    drain(pipeline).await;
    assert_eq!(backend.taken(), [0, 1, 2, 3]);
}

/// A sender that is refused by a pipeline without a journal has left nothing in the journal of
/// another.
#[tokio::test(start_paused = true)]
async fn a_refusal_leaves_nothing_in_a_journal() {
    let (disk, backend) = (Disk::default(), Backend::new([]));
    let durable = build(&disk, vec![holding(None)], &backend).await;
    let (stage, gate) = crate::gate::gated();
    let mut strict = exporter(&backend, 100);
    strict.queue.on_full = OnFull::Refuse;
    let plain = Pipeline::build(config(vec![stage], vec![strict]));
    let plain = plain.await.unwrap();
    let busy = async {
        let offers = (0..9).map(|id| offer(&plain, spans([id])));
        futures_util::future::join_all(offers).await
    };
    let refused = async {
        sleep(Duration::from_millis(100)).await;
        let both = Pipeline::fan_out([&durable, &plain]);
        let refused = both.offer(Signal::Traces, spans([100])).await;
        gate.open();
        refused
    };
    let (_, refused) = tokio::join!(busy, refused);
    refused.unwrap_err();
    assert_eq!(disk.ingress(), []);
    drain(durable).await;
    drain(plain).await;
}

/// A request that cannot be cut by trace, because each part would repeat too much, gets its OK and
/// arrives.
#[tokio::test(start_paused = true)]
async fn what_cannot_be_cut_arrives() {
    let (disk, backend) = (Disk::default(), Backend::new([]));
    let manifest = Manifest {
        dispatch: Dispatch::ByTrace,
        ..Manifest::default()
    };
    let by_trace = stage(manifest, |_| |_| Ok(Reply::default()));
    let mut config = on(&disk, vec![by_trace], &backend, 100);
    config.shards = 16;
    let pipeline = Pipeline::build(config).await.unwrap();
    let mut request = ExportTraceServiceRequest::decode(spans(0..64)).unwrap();
    request.resource_spans[0].schema_url = "x".repeat(1 << 20);
    let request = Bytes::from(request.encode_to_vec());
    assert!(spandrel_wire::split_by_trace(&request, 16).is_none());
    offer(&pipeline, request).await.unwrap();
    sleep(Duration::from_secs(1)).await;
    assert_eq!(backend.taken(), (0..64).collect::<Vec<_>>());
    assert_eq!((disk.ingress(), disk.quarantine().len()), (vec![], 0));
    drain(pipeline).await;
}

/// While the plugin of one shard is not called, because it fails all the time, the part that goes
/// through the other shard is not sent to the backend over and over.
#[tokio::test(start_paused = true)]
async fn a_part_makes_few_duplicates() {
    let (disk, backend) = (Disk::default(), Backend::new([]));
    let manifest = Manifest {
        dispatch: Dispatch::ByTrace,
        tick_interval: Some(Duration::from_secs(1)),
        ..Manifest::default()
    };
    // Instance 1 is the second shard's instance; each later one replaces one that failed.
    let mut by_trace = stage(manifest, |instance| {
        move |_| match instance {
            1 => Ok(Reply::default()),
            _ => Err(Fault::new(FaultKind::Trap, "always")),
        }
    });
    by_trace.on_fault = FaultPolicy::Refuse;
    let mut config = on(&disk, vec![by_trace], &backend, 100);
    config.shards = 2;
    let pipeline = Pipeline::build(config).await.unwrap();
    sleep(Duration::from_secs(300)).await;
    offer(&pipeline, spans(0..20)).await.unwrap();
    sleep(Duration::from_secs(3600)).await;
    let sent = backend.requests.lock().unwrap().len();
    assert!((2..=20).contains(&sent), "{sent} times");
    drain(pipeline).await;
}
