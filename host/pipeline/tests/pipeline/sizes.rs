//! Tests of backends that take requests up to a size: a request with more than one item is cut, the
//! limit of a backend is learned, and an item that is too long by itself is lost alone.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use prost::Message;
use spandrel_pipeline::batcher::BatcherConfig;
use spandrel_pipeline::exporter::{Exporter, Outcome, Refuses};
use spandrel_pipeline::pipeline::{AckOn, Pipeline, PipelineConfig};
use spandrel_pipeline::queue::Sizer;
use spandrel_wire::Signal;
use tokio::time::sleep;

use crate::disk::Disk;
use crate::edges::*;

/// A backend that takes a limited number of bytes in one request.
#[derive(Debug)]
struct Narrow {
    limit: Mutex<usize>,
    /// True if its refusal names the limit.
    says: bool,
    is_away: Mutex<bool>,
    refused: Mutex<Vec<usize>>,
    taken: Mutex<Vec<(usize, Vec<u64>)>>,
}

impl Narrow {
    fn new(limit: usize, says: bool) -> Arc<Self> {
        Arc::new(Self {
            limit: Mutex::new(limit),
            says,
            is_away: Mutex::new(false),
            refused: Mutex::default(),
            taken: Mutex::default(),
        })
    }

    fn ids(&self) -> Vec<u64> {
        let taken = self.taken.lock().unwrap();
        let mut ids: Vec<u64> = taken.iter().flat_map(|(_, ids)| ids.clone()).collect();
        ids.sort_unstable();
        ids
    }

    fn sizes(&self) -> Vec<usize> {
        self.taken
            .lock()
            .unwrap()
            .iter()
            .map(|taken| taken.0)
            .collect()
    }

    fn refusals(&self) -> usize {
        self.refused.lock().unwrap().len()
    }
}

impl Exporter for Narrow {
    fn export(&self, _: Signal, batch: Bytes) -> BoxFuture<'_, Outcome> {
        Box::pin(async move {
            let error = "too long".to_owned();
            if *self.is_away.lock().unwrap() {
                return Outcome::Retry { after: None, error };
            }
            let limit = *self.limit.lock().unwrap();
            if batch.len() > limit {
                self.refused.lock().unwrap().push(batch.len());
                let limit = self.says.then_some(limit);
                let refuses = Refuses::Size { limit };
                return Outcome::Permanent { refuses, error };
            }
            self.taken.lock().unwrap().push((batch.len(), ids(&batch)));
            Outcome::Sent
        })
    }
}

fn with(backend: &Arc<Narrow>) -> PipelineConfig {
    let mut spec = exporter(&Backend::new([]), 100);
    spec.exporter = Arc::clone(backend) as Arc<dyn Exporter>;
    config(vec![], vec![spec])
}

/// Makes spans of one resource, each about 1 KiB, as one client sends them.
fn large(ids: std::ops::Range<u64>) -> Bytes {
    let mut request = ExportTraceServiceRequest::decode(spans(ids)).unwrap();
    for span in &mut request.resource_spans[0].scope_spans[0].spans {
        span.name = "x".repeat(1 << 10);
    }
    request.encode_to_vec().into()
}

const LIMIT: usize = 256 << 10;

/// One client's request that is larger than the backend's limit arrives in parts, and the next one
/// is cut before it is sent: there is one refusal in all if the backend names its limit, and a few
/// if it does not.
#[tokio::test(start_paused = true)]
async fn one_clients_request_is_cut() {
    for (says, most) in [(true, 1), (false, 3)] {
        let backend = Narrow::new(LIMIT, says);
        let pipeline = Pipeline::build(with(&backend)).await.unwrap();
        offer(&pipeline, large(0..1500)).await.unwrap();
        sleep(Duration::from_secs(10)).await;
        assert_eq!(backend.ids(), (0..1500).collect::<Vec<_>>());
        let refusals = backend.refusals();
        assert!((1..=most).contains(&refusals), "{refusals}, says {says}");
        offer(&pipeline, large(1500..3000)).await.unwrap();
        sleep(Duration::from_secs(10)).await;
        assert_eq!(backend.ids(), (0..3000).collect::<Vec<_>>());
        assert_eq!(backend.refusals(), refusals, "it was learned");
        drain(pipeline).await;
    }
}

/// With the journal on, this includes batches that went through the exporter's log: all of them
/// arrive, and no record is left.
#[tokio::test(start_paused = true)]
async fn a_backlog_is_cut() {
    let (disk, backend) = (Disk::default(), Narrow::new(LIMIT, true));
    *backend.is_away.lock().unwrap() = true;
    let mut config = with(&backend);
    config.exporters[0].queue.queue_size = 2;
    config.durability = Some(disk.open());
    let pipeline = Pipeline::build(config).await.unwrap();
    for batch in 0..5 {
        let first = batch * 1500;
        offer(&pipeline, large(first..first + 1500)).await.unwrap();
    }
    sleep(Duration::from_secs(1)).await;
    assert!(disk.records("backend") > 0, "some of it is in the log");
    *backend.is_away.lock().unwrap() = false;
    sleep(Duration::from_secs(60)).await;
    assert_eq!(backend.ids(), (0..7500).collect::<Vec<_>>());
    assert!(backend.refusals() <= 2, "{}", backend.refusals());
    assert_eq!((disk.ingress(), disk.egress("backend")), (vec![], vec![]));
    drain(pipeline).await;
}

/// An item that is longer than the backend's limit is lost alone, in a column of its own; its
/// sender is told, if it waits for the export.
#[tokio::test(start_paused = true)]
async fn an_item_that_is_too_long_is_lost_alone() {
    for says in [true, false] {
        let backend = Narrow::new(LIMIT, says);
        let mut config = with(&backend);
        config.ack_on = AckOn::Export;
        let pipeline = Pipeline::build(config).await.unwrap();
        let mut request = ExportTraceServiceRequest::decode(large(0..1000)).unwrap();
        let spans = &mut request.resource_spans[0].scope_spans[0].spans;
        spans[700].name = "x".repeat(LIMIT);
        let request = Bytes::from(request.encode_to_vec());
        assert!(offer(&pipeline, request).await.is_err());
        let expected: Vec<u64> = (0..1000).filter(|id| *id != 700).collect();
        assert_eq!(backend.ids(), expected, "says {says}");
        let column = pipeline.ledger().books().exporters[0].clone();
        assert_eq!((column.sent, column.failed, column.too_large), (999, 1, 1));
        assert!(backend.refusals() < 30, "{}", backend.refusals());
        drain(pipeline).await;
    }
}

/// A backend that begins to take larger requests gets them, some time later.
#[tokio::test(start_paused = true)]
async fn a_limit_is_not_for_ever() {
    let backend = Narrow::new(LIMIT, true);
    let pipeline = Pipeline::build(with(&backend)).await.unwrap();
    offer(&pipeline, large(0..1500)).await.unwrap();
    sleep(Duration::from_secs(1)).await;
    *backend.limit.lock().unwrap() = usize::MAX;
    sleep(Duration::from_secs(601)).await;
    let before = backend.sizes().len();
    offer(&pipeline, large(1500..3000)).await.unwrap();
    sleep(Duration::from_secs(1)).await;
    assert_eq!(backend.sizes().len(), before + 1, "one request");
    drain(pipeline).await;
}

/// With `sizer: bytes` no request is longer than `max_size`, even if one client's is, and requests
/// are filled; one item that is longer goes out alone.
#[tokio::test(start_paused = true)]
async fn batches_by_bytes() {
    let backend = Narrow::new(usize::MAX, true);
    let mut config = with(&backend);
    config.exporters[0].batcher = Some(BatcherConfig {
        flush_timeout: Duration::from_secs(1),
        sizer: Sizer::Bytes,
        min_size: 100 << 10,
        max_size: 128 << 10,
    });
    let pipeline = Pipeline::build(config).await.unwrap();
    offer(&pipeline, large(0..1000)).await.unwrap();
    sleep(Duration::from_secs(2)).await;
    let sizes = backend.sizes();
    let (last, full) = sizes.split_last().unwrap();
    assert!(*last <= 128 << 10, "{sizes:?}");
    let fits = |size: &usize| (126 << 10..=128 << 10).contains(size);
    assert!(full.len() >= 8 && full.iter().all(fits), "{sizes:?}");
    // Small requests are merged until there are `min_size` bytes, and then go out without the
    // timeout.
    for id in 1000..1080 {
        offer(&pipeline, large(id..id + 1)).await.unwrap();
    }
    let before = backend.sizes().len();
    sleep(Duration::from_millis(10)).await;
    assert_eq!(backend.sizes().len(), before, "not yet");
    offer(&pipeline, large(1080..1105)).await.unwrap();
    sleep(Duration::from_millis(10)).await;
    assert_eq!(backend.sizes().len(), before + 1);
    let mut request = ExportTraceServiceRequest::decode(large(1105..1108)).unwrap();
    request.resource_spans[0].scope_spans[0].spans[1].name = "x".repeat(200 << 10);
    offer(&pipeline, request.encode_to_vec().into())
        .await
        .unwrap();
    sleep(Duration::from_secs(2)).await;
    assert_eq!(backend.ids(), (0..1108).collect::<Vec<_>>());
    drain(pipeline).await;
}

/// A backend that permanently refuses everything.
#[derive(Debug, Default)]
struct Never {
    attempts: Mutex<usize>,
}

impl Exporter for Never {
    fn export(&self, _: Signal, _: Bytes) -> BoxFuture<'_, Outcome> {
        *self.attempts.lock().unwrap() += 1;
        let error = "no".to_owned();
        let refuses = Refuses::Batch;
        Box::pin(std::future::ready(Outcome::Permanent { refuses, error }))
    }
}

/// A backend that refuses everything is not asked hundreds of times for each request of a client:
/// once it has refused every part of one, the next is split only a little.
#[tokio::test(start_paused = true)]
async fn a_backend_that_takes_nothing_costs_little() {
    let backend = Arc::new(Never::default());
    let mut config = with(&Narrow::new(0, true));
    config.exporters[0].exporter = Arc::clone(&backend) as Arc<dyn Exporter>;
    let pipeline = Pipeline::build(config).await.unwrap();
    for batch in 0..10 {
        offer(&pipeline, large(batch * 1000..(batch + 1) * 1000))
            .await
            .unwrap();
    }
    sleep(Duration::from_secs(10)).await;
    let attempts = *backend.attempts.lock().unwrap();
    assert!(attempts < 513 + 9 * 40, "{attempts} attempts");
    assert_eq!(pipeline.ledger().books().exporters[0].failed, 10_000);
    drain(pipeline).await;
}
