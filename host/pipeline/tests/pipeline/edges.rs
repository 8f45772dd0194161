//! The edges of the pipeline in these tests: spans, a plugin by closure, a backend by script.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use prost::Message;
use spandrel_pipeline::backoff::RetryConfig;
use spandrel_pipeline::egress::ExporterSpec;
use spandrel_pipeline::exporter::{Exporter, Outcome, Refuses};
use spandrel_pipeline::ingress::Ingress;
use spandrel_pipeline::pipeline::{AckOn, DrainReport, Pipeline, PipelineConfig};
use spandrel_pipeline::queue::QueueConfig;
use spandrel_pipeline::refused::Refused;
use spandrel_pipeline::stage::{
    DrainReason, Emission, Fault, Generation, Input, Instance, InstantiateError, Manifest, Reply,
    StageSpec, Ticket,
};
use spandrel_wire::{Limits, Signal};
use tokio::time::Instant;

/// Makes a request with these spans, each in its own trace.
pub(crate) fn spans(ids: impl IntoIterator<Item = u64>) -> Bytes {
    traced(ids.into_iter().map(|id| (id, id)))
}

/// Makes a request with spans of (trace, span) id.
pub(crate) fn traced(ids: impl IntoIterator<Item = (u64, u64)>) -> Bytes {
    let span = |(trace, id): (u64, u64)| Span {
        trace_id: u128::from(trace + 1).to_be_bytes().to_vec(),
        span_id: (id + 1).to_be_bytes().to_vec(),
        name: format!("span {id}"),
        ..Span::default()
    };
    let scope = ScopeSpans {
        spans: ids.into_iter().map(span).collect(),
        ..ScopeSpans::default()
    };
    let resource = ResourceSpans {
        scope_spans: vec![scope],
        ..ResourceSpans::default()
    };
    ExportTraceServiceRequest {
        resource_spans: vec![resource],
    }
    .encode_to_vec()
    .into()
}

/// Returns the span ids of a request, in order.
pub(crate) fn ids(request: &[u8]) -> Vec<u64> {
    let request = ExportTraceServiceRequest::decode(request).expect("a valid request");
    let scopes = request
        .resource_spans
        .into_iter()
        .flat_map(|resource| resource.scope_spans);
    let spans = scopes.flat_map(|scope| scope.spans);
    spans
        .map(|span| u64::from_be_bytes(span.span_id.try_into().expect("8 bytes")) - 1)
        .collect()
}

/// A call of a native plugin.
pub(crate) enum Call<'a> {
    Process(Ticket, &'a [u8]),
    Tick,
    Drain(DrainReason),
}

type Answer = Result<Reply, Fault>;
type Behaviour = dyn FnMut(Call<'_>) -> Answer + Send;

/// A plugin whose instances are closures: `make(n)` makes the n-th one.
pub(crate) struct Native {
    manifest: Manifest,
    made: AtomicUsize,
    make: Box<dyn Fn(usize) -> Box<Behaviour> + Send + Sync>,
}

impl fmt::Debug for Native {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Native")
            .field("manifest", &self.manifest)
            .finish_non_exhaustive()
    }
}

impl Generation for Native {
    fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    fn instantiate(&self) -> BoxFuture<'_, Result<Box<dyn Instance>, InstantiateError>> {
        let behaviour = (self.make)(self.made.fetch_add(1, Ordering::Relaxed));
        Box::pin(async move { Ok(Box::new(NativeInstance(behaviour)) as Box<dyn Instance>) })
    }
}

struct NativeInstance(Box<Behaviour>);

/// A plugin whose instances wait for these times in a tick and a drain, and do nothing else.
#[derive(Debug)]
pub(crate) struct Sluggish {
    pub(crate) manifest: Manifest,
    pub(crate) tick: Duration,
    pub(crate) drain: Duration,
}

impl Generation for Sluggish {
    fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    fn instantiate(&self) -> BoxFuture<'_, Result<Box<dyn Instance>, InstantiateError>> {
        let instance = SluggishInstance {
            tick: self.tick,
            drain: self.drain,
        };
        Box::pin(async move { Ok(Box::new(instance) as Box<dyn Instance>) })
    }
}

struct SluggishInstance {
    tick: Duration,
    drain: Duration,
}

impl Instance for SluggishInstance {
    fn process<'a>(&'a mut self, _: Ticket, _: &'a Input) -> BoxFuture<'a, Answer> {
        Box::pin(std::future::ready(Ok(Reply::default())))
    }

    fn tick(&mut self) -> BoxFuture<'_, Result<Emission, Fault>> {
        Box::pin(async {
            tokio::time::sleep(self.tick).await;
            Ok(Emission::default())
        })
    }

    fn drain(&mut self, _: DrainReason, _: Duration) -> BoxFuture<'_, Result<Emission, Fault>> {
        Box::pin(async {
            tokio::time::sleep(self.drain).await;
            Ok(Emission::default())
        })
    }
}

impl Instance for NativeInstance {
    fn process<'a>(&'a mut self, ticket: Ticket, input: &'a Input) -> BoxFuture<'a, Answer> {
        let answer = (self.0)(Call::Process(ticket, input.bytes()));
        Box::pin(std::future::ready(answer))
    }

    fn tick(&mut self) -> BoxFuture<'_, Result<Emission, Fault>> {
        let answer = (self.0)(Call::Tick).map(|reply| reply.emission.unwrap_or_default());
        Box::pin(std::future::ready(answer))
    }

    fn drain(
        &mut self,
        reason: DrainReason,
        _: Duration,
    ) -> BoxFuture<'_, Result<Emission, Fault>> {
        let answer = (self.0)(Call::Drain(reason)).map(|reply| reply.emission.unwrap_or_default());
        Box::pin(std::future::ready(answer))
    }
}

/// Makes a stage whose instances behave like `make(n)`.
pub(crate) fn stage<B>(
    manifest: Manifest,
    make: impl Fn(usize) -> B + Send + Sync + 'static,
) -> StageSpec
where
    B: FnMut(Call<'_>) -> Answer + Send + 'static,
{
    let make = Box::new(move |n| Box::new(make(n)) as Box<Behaviour>);
    let native = Native {
        manifest,
        made: AtomicUsize::new(0),
        make,
    };
    StageSpec::new("native", Arc::new(native))
}

/// Makes a plugin that holds everything, and releases it on tick (if it has an interval) and drain.
pub(crate) fn holding(tick: Option<Duration>) -> StageSpec {
    let manifest = Manifest {
        holds: true,
        tick_interval: tick,
        ..Manifest::default()
    };
    stage(manifest, |_| {
        let mut held: Vec<u64> = Vec::new();
        move |call| match call {
            Call::Process(ticket, batch) => {
                let items = ids(batch).len();
                held.extend((0..items as u64).flat_map(|index| [ticket, index]));
                Ok(Reply {
                    verdicts: vec![1; items],
                    ..Reply::default()
                })
            }
            Call::Tick | Call::Drain(_) => Ok(releasing(std::mem::take(&mut held))),
        }
    })
}

/// Makes a reply with these releases and nothing else.
pub(crate) fn releasing(released: Vec<u64>) -> Reply {
    Reply {
        emission: Some(Emission {
            released,
            ..Emission::default()
        }),
        ..Reply::default()
    }
}

/// A backend that answers by a script, then repeats its last answer forever, and remembers the
/// spans that it took.
#[derive(Debug, Default)]
pub(crate) struct Backend {
    script: Mutex<VecDeque<Reaction>>,
    last: Mutex<Option<Reaction>>,
    pub(crate) requests: Mutex<Vec<Vec<u64>>>,
}

/// The backend's answer to one attempt.
#[derive(Clone, Debug)]
pub(crate) enum Reaction {
    Take,
    TakeAfter(Duration),
    Busy,
    Refuse,
    Partial(u64),
    Hang,
}

impl Backend {
    pub(crate) fn new(script: impl IntoIterator<Item = Reaction>) -> Arc<Self> {
        Arc::new(Self {
            script: Mutex::new(script.into_iter().collect()),
            ..Self::default()
        })
    }

    /// Returns the spans that it took so far, sorted: with duplicates, if there are any.
    pub(crate) fn taken(&self) -> Vec<u64> {
        let mut taken = self.requests.lock().unwrap().concat();
        taken.sort_unstable();
        taken
    }

    /// Sets the answer to every attempt from now on.
    pub(crate) fn react(&self, reaction: Reaction) {
        self.script.lock().unwrap().clear();
        *self.last.lock().unwrap() = Some(reaction);
    }
}

impl Exporter for Backend {
    fn export(&self, _: Signal, batch: Bytes) -> BoxFuture<'_, Outcome> {
        let next = self.script.lock().unwrap().pop_front();
        let mut last = self.last.lock().unwrap();
        let reaction = next.or_else(|| last.clone()).unwrap_or(Reaction::Take);
        *last = Some(reaction.clone());
        Box::pin(async move {
            let take = || self.requests.lock().unwrap().push(ids(&batch));
            match reaction {
                Reaction::Take => take(),
                Reaction::TakeAfter(delay) => {
                    tokio::time::sleep(delay).await;
                    take();
                }
                Reaction::Busy => {
                    return Outcome::Retry {
                        after: None,
                        error: "busy".to_owned(),
                    };
                }
                Reaction::Refuse => {
                    return Outcome::Permanent {
                        refuses: Refuses::Batch,
                        error: "no".to_owned(),
                    };
                }
                Reaction::Partial(rejected) => {
                    return Outcome::Partial {
                        rejected,
                        message: "some".to_owned(),
                    };
                }
                Reaction::Hang => std::future::pending().await,
            }
            Outcome::Sent
        })
    }
}

/// Makes an exporter with a queue of `queue_size` requests and one attempt at a time.
pub(crate) fn exporter(backend: &Arc<Backend>, queue_size: usize) -> ExporterSpec {
    ExporterSpec {
        name: "backend".to_owned(),
        exporter: Arc::clone(backend) as Arc<dyn Exporter>,
        queue: QueueConfig {
            queue_size,
            num_consumers: 1,
            ..QueueConfig::default()
        },
        batcher: None,
        retry: RetryConfig::default(),
    }
}

/// Makes a pipeline config of one shard.
pub(crate) fn config(mut stages: Vec<StageSpec>, exporters: Vec<ExporterSpec>) -> PipelineConfig {
    // A stage is identified by its name.
    for (number, stage) in stages.iter_mut().enumerate().skip(1) {
        stage.name = format!("{}/{number}", stage.name);
    }
    PipelineConfig {
        name: "traces".to_owned(),
        signal: Signal::Traces,
        shards: 1,
        stages,
        exporters,
        ack_on: AckOn::Queue,
        limits: Limits::default(),
        durability: None,
    }
}

/// Offers one request.
pub(crate) async fn offer(pipeline: &Pipeline, request: Bytes) -> Result<(), Refused> {
    let offered = pipeline.ingress().offer(Signal::Traces, request).await;
    offered.map(drop)
}

/// Drains within 25 s and checks that the books balance, with nothing left inside.
pub(crate) async fn drain(pipeline: Pipeline) -> DrainReport {
    let ledger = Arc::clone(pipeline.ledger());
    let drained = pipeline
        .drain(Instant::now() + Duration::from_secs(25))
        .await;
    let books = ledger.books();
    assert!(books.is_balanced(), "{ledger}");
    assert!(books.is_settled(), "{ledger}");
    drained
}

/// Returns the drops of one stage by reason.
pub(crate) fn dropped(pipeline: &Pipeline, stage: usize) -> HashMap<String, u64> {
    let books = pipeline.ledger().books();
    books.stages[stage]
        .dropped()
        .map(|(reason, items)| (reason.to_owned(), items))
        .collect()
}
