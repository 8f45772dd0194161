//! Tests of requests with some spans whose ids are invalid: the other spans are accepted, and all
//! are in the books.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use prost::Message;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use spandrel_pipeline::ingress::{Acceptance, FanOut, Ingress};
use spandrel_pipeline::ledger::Books;
use spandrel_pipeline::pipeline::{AckOn, Pipeline};
use spandrel_pipeline::queue::OnFull;
use spandrel_pipeline::refused::Refused;
use spandrel_pipeline::stage::{Fault, FaultKind, FaultPolicy, Manifest, Reply};
use spandrel_wire::Signal;
use tokio::time::{sleep, timeout};

use crate::disk::Disk;
use crate::edges::*;

/// Makes spans with these ids; those that `is_bad` selects get no valid id.
fn spoilt(ids: impl IntoIterator<Item = u64>, is_bad: impl Fn(u64) -> bool) -> Bytes {
    let mut request = ExportTraceServiceRequest::decode(spans(ids)).unwrap();
    for span in &mut request.resource_spans[0].scope_spans[0].spans {
        let id = <[u8; 8]>::try_from(&span.span_id[..]).unwrap();
        let id = u64::from_be_bytes(id) - 1;
        match id % 4 {
            _ if !is_bad(id) => {}
            0 => span.span_id.clear(),
            1 => span.trace_id.fill(0),
            2 => drop(span.trace_id.pop()),
            _ => span.parent_span_id.push(7),
        }
    }
    request.encode_to_vec().into()
}

/// Makes ten spans from this id on, of which those with an id divisible by three are invalid.
fn ten(from: u64) -> Bytes {
    spoilt(from..from + 10, |id| id % 3 == 0)
}

async fn send(ingress: &FanOut, request: Bytes) -> Result<u64, Refused> {
    let accepted = ingress.offer(Signal::Traces, request).await;
    accepted.map(|Acceptance { refused, .. }| refused.count as u64)
}

/// Returns the numbers of items that were received, refused, and permanently refused.
fn figures(books: &Books) -> [u64; 3] {
    assert!(books.is_balanced(), "{books}");
    [books.received, books.refused, books.invalid_items]
}

fn counted(ingress: &FanOut) -> [u64; 2] {
    let offered = ingress.offered();
    [
        offered.accepted(Signal::Traces),
        offered.refused(Signal::Traces),
    ]
}

/// Invalid spans are refused and counted, the others go on; a request with only invalid spans
/// enters nothing, and gets the same answer.
#[tokio::test(start_paused = true)]
async fn the_others_go_on() {
    let backend = Backend::new([]);
    let pipeline = Pipeline::build(config(vec![], vec![exporter(&backend, 100)]))
        .await
        .unwrap();
    let ingress = pipeline.ingress();
    assert_eq!(send(&ingress, ten(0)).await.unwrap(), 4);
    assert_eq!(figures(&pipeline.ledger().books()), [10, 4, 4]);
    assert_eq!(send(&ingress, spoilt(10..15, |_| true)).await.unwrap(), 5);
    assert_eq!(figures(&pipeline.ledger().books()), [15, 9, 9]);
    assert_eq!(send(&ingress, spans([20])).await.unwrap(), 0);
    assert_eq!(figures(&pipeline.ledger().books()), [16, 9, 9]);
    assert_eq!(counted(&ingress), [7, 9]);
    drain(pipeline).await;
    assert_eq!(backend.taken(), [1, 2, 4, 5, 7, 8, 20]);
}

/// If there is no room for the valid spans, the whole request is refused, and none of it
/// permanently: its sender has to send all of it again. The same holds if the sender hangs up, and
/// in a drain.
#[tokio::test(start_paused = true)]
async fn without_room_nothing_is_refused_for_good() {
    let backend = Backend::new([Reaction::Hang]);
    let mut spec = exporter(&backend, 1);
    let pipeline = Pipeline::build(config(vec![], vec![spec.clone()])).await;
    let pipeline = pipeline.unwrap();
    let ingress = pipeline.ingress();
    assert_eq!(send(&ingress, spans([1])).await.unwrap(), 0);
    let refused = send(&ingress, ten(0)).await.unwrap_err();
    assert!(matches!(refused, Refused::Full { .. }), "{refused}");
    assert_eq!(figures(&pipeline.ledger().books()), [11, 10, 0]);
    pipeline.close();
    let refused = send(&ingress, ten(0)).await.unwrap_err();
    assert!(matches!(refused, Refused::Draining), "{refused}");
    assert_eq!(figures(&pipeline.ledger().books()), [21, 20, 0]);
    assert_eq!(counted(&ingress), [1, 20]);

    spec.queue.block_on_overflow = true;
    let pipeline = Pipeline::build(config(vec![], vec![spec])).await.unwrap();
    let ingress = pipeline.ingress();
    assert_eq!(send(&ingress, spans([1])).await.unwrap(), 0);
    let hung_up = timeout(Duration::from_secs(1), send(&ingress, ten(0))).await;
    assert!(hung_up.is_err());
    assert_eq!(figures(&pipeline.ledger().books()), [11, 10, 0]);
    assert_eq!(counted(&ingress), [1, 10]);
}

/// If a request moves to another pipeline because its own is removed, its sender is still told of
/// the invalid spans.
#[tokio::test(start_paused = true)]
async fn a_redirect_forgets_nothing() {
    let (dead, alive) = (Backend::new([Reaction::Hang]), Backend::new([]));
    let mut full = exporter(&dead, 1);
    full.queue.block_on_overflow = true;
    let old = Pipeline::build(config(vec![], vec![full])).await.unwrap();
    let new = Pipeline::build(config(vec![], vec![exporter(&alive, 100)]))
        .await
        .unwrap();
    let ingress = Pipeline::fan_out([&old]);
    assert_eq!(send(&ingress, spans([30])).await.unwrap(), 0);
    let reload = async {
        sleep(Duration::from_secs(3)).await;
        ingress.redirect(&Pipeline::fan_out([&new]));
        old.close();
    };
    let (answer, ()) = tokio::join!(send(&ingress, ten(0)), reload);
    assert_eq!(answer.unwrap(), 4);
    assert_eq!(figures(&old.ledger().books()), [11, 10, 0]);
    assert_eq!(figures(&new.ledger().books()), [10, 4, 4]);
    assert_eq!(counted(&ingress), [7, 4]);
    drain(new).await;
    assert_eq!(alive.taken(), [1, 2, 4, 5, 7, 8]);
}

/// The journal contains only the spans that go on; a full disk refuses the whole request.
#[tokio::test(start_paused = true)]
async fn the_journal_has_the_others() {
    let (disk, backend) = (Disk::default(), Backend::new([]));
    let mut config = config(vec![holding(None)], vec![exporter(&backend, 100)]);
    config.durability = Some(disk.open());
    let pipeline = Pipeline::build(config).await.unwrap();
    let ingress = pipeline.ingress();
    assert_eq!(send(&ingress, ten(0)).await.unwrap(), 4);
    assert_eq!(disk.ingress(), [1, 2, 4, 5, 7, 8]);
    assert_eq!(figures(&pipeline.ledger().books()), [10, 4, 4]);
    disk.set(|condition| condition.ingress_full = true);
    let refused = send(&ingress, ten(10)).await.unwrap_err();
    assert!(matches!(refused, Refused::Unwritten { .. }), "{refused}");
    assert_eq!(figures(&pipeline.ledger().books()), [20, 14, 4]);
    disk.set(|condition| condition.ingress_full = false);
    assert_eq!(send(&ingress, ten(10)).await.unwrap(), 3);
    assert_eq!(figures(&pipeline.ledger().books()), [30, 17, 7]);
    assert_eq!(counted(&ingress), [13, 17]);
    drain(pipeline).await;
}

/// With several pipelines, each has the invalid spans in its books.
#[tokio::test(start_paused = true)]
async fn each_pipeline_counts_them() {
    let (backend, full) = (Backend::new([]), Backend::new([Reaction::Hang]));
    let one = config(vec![], vec![exporter(&backend, 100)]);
    let one = Pipeline::build(one).await.unwrap();
    let mut strict = exporter(&full, 1);
    strict.queue.on_full = OnFull::Refuse;
    let other = Pipeline::build(config(vec![], vec![strict])).await.unwrap();
    let both = Pipeline::fan_out([&one, &other]);
    assert_eq!(send(&both, ten(0)).await.unwrap(), 4);
    send(&both, ten(0)).await.unwrap_err();
    assert_eq!(send(&both, spoilt(0..2, |_| true)).await.unwrap(), 2);
    for pipeline in [&one, &other] {
        assert_eq!(figures(&pipeline.ledger().books()), [22, 16, 6]);
    }
}

/// Whatever happens to requests and to their senders, the books balance at every moment, and the
/// permanently refused items are those that senders were told of.
#[tokio::test(start_paused = true)]
async fn the_books_balance_at_every_moment() {
    for seed in 0..20 {
        let rng = &mut StdRng::seed_from_u64(seed);
        let reactions = [Reaction::Take, Reaction::Busy, Reaction::Refuse];
        let backend = Backend::new((0..40).map(|_| reactions[rng.random_range(0..3)].clone()));
        let mut fails = stage(Manifest::default(), |_| {
            |call| match call {
                Call::Process(_, batch) if ids(batch).iter().any(|id| id % 50 == 0) => {
                    Err(Fault::new(FaultKind::Trap, "a trap"))
                }
                _ => Ok(Reply::default()),
            }
        });
        fails.on_fault = FaultPolicy::Refuse;
        let queue = rng.random_range(1..4);
        let mut config = config(vec![fails], vec![exporter(&backend, queue)]);
        config.shards = rng.random_range(1..3);
        config.ack_on = [AckOn::Queue, AckOn::Export][rng.random_range(0..2)];
        let pipeline = Pipeline::build(config).await.unwrap();
        let ledger = Arc::clone(pipeline.ledger());
        let ingress = pipeline.ingress();
        let (mut offered, mut told) = (0, 0);
        for _ in 0..60 {
            let bad = rng.random_range(1..6);
            let ids = offered..offered + rng.random_range(0..9);
            let request = spoilt(ids.clone(), |id| id % bad == 0);
            offered = ids.end;
            let patience = Duration::from_millis(rng.random_range(0..5000));
            if let Ok(Ok(invalid)) = timeout(patience, send(&ingress, request)).await {
                let expected = ids.filter(|id| id % bad == 0).count() as u64;
                assert_eq!(invalid, expected, "seed {seed}");
                told += invalid;
            }
            let [received, _, invalid] = figures(&ledger.books());
            assert_eq!(
                (received, invalid),
                (offered, told),
                "seed {seed}: {ledger}"
            );
        }
        pipeline.close();
        drain(pipeline).await;
        assert!(ledger.books().is_balanced(), "seed {seed}: {ledger}");
    }
}
