//! Receivers in front of pipelines, each in the state that causes certain answers.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use prost::Message;
use spandrel_otlp::auth::{Bearer, ServerAuth, Tokens};
use spandrel_otlp::receiver::{GrpcConfig, HttpConfig, ReceiverConfig, Transport};
use spandrel_pipeline::backoff::RetryConfig;
use spandrel_pipeline::egress::ExporterSpec;
use spandrel_pipeline::exporter::{Exporter, Outcome};
use spandrel_pipeline::pipeline::{AckOn, Pipeline, PipelineConfig};
use spandrel_pipeline::queue::QueueConfig;
use spandrel_pipeline::refused::Refused;
use spandrel_wire::{Limits, Signal};

use super::{LIMIT, sent};
use crate::collector::{Collector, Sink, config};
use crate::http::http;
use crate::raw::Client;
use crate::round_trip::spans;

/// An answer of a pipeline that the sites here do not cause by themselves.
pub(super) type Refusal = fn() -> Result<(), Refused>;

/// The site at which a request arrives.
#[derive(Clone, Copy, Debug)]
pub(super) enum At {
    /// Pipelines of spans and logs with room.
    Open,
    /// A pipeline whose backend takes nothing, and whose queue is full.
    Full,
    /// A pipeline that drains.
    Draining,
    /// A receiver that wants a token.
    Guarded,
    /// A pipeline that gives this answer.
    Refusing(Refusal),
}

/// One site of each kind.
pub(super) struct Sites {
    pub(super) open: Site,
    full: Site,
    draining: Site,
    guarded: Site,
    refusing: (Collector, Arc<Sink>),
}

/// A receiver, its pipeline of spans, and the backend that takes what the pipeline sends on.
pub(super) struct Site {
    pub(super) collector: Collector,
    pub(super) pipeline: Pipeline,
    pub(super) backend: Arc<Backend>,
    _logs: Pipeline,
}

/// A backend that takes everything, or keeps every attempt waiting.
#[derive(Debug, Default)]
pub(super) struct Backend {
    hangs: bool,
    taken: Mutex<Vec<Bytes>>,
}

impl Exporter for Backend {
    fn export(&self, _: Signal, batch: Bytes) -> BoxFuture<'_, Outcome> {
        Box::pin(async move {
            if self.hangs {
                std::future::pending::<()>().await;
            }
            self.taken.lock().unwrap().push(batch);
            Outcome::Sent
        })
    }
}

impl Backend {
    pub(super) fn taken(&self) -> Vec<Bytes> {
        self.taken.lock().unwrap().clone()
    }
}

impl Site {
    async fn open(config: ReceiverConfig, backend: Backend) -> Self {
        let backend = Arc::new(backend);
        let pipeline = pipeline("traces", Signal::Traces, &backend).await;
        let logs = pipeline_of_logs().await;
        let ingress = Arc::new(Pipeline::fan_out([&pipeline, &logs]));
        Self {
            collector: Collector::start_with(config, &ingress).await,
            pipeline,
            backend,
            _logs: logs,
        }
    }
}

async fn pipeline_of_logs() -> Pipeline {
    pipeline("logs", Signal::Logs, &Arc::default()).await
}

async fn pipeline(name: &str, signal: Signal, backend: &Arc<Backend>) -> Pipeline {
    let exporter = ExporterSpec {
        name: "backend".to_owned(),
        exporter: Arc::clone(backend) as Arc<dyn Exporter>,
        queue: QueueConfig {
            queue_size: if backend.hangs { 1 } else { 1000 },
            ..QueueConfig::default()
        },
        batcher: None,
        retry: RetryConfig::default(),
    };
    let config = PipelineConfig {
        name: name.to_owned(),
        signal,
        shards: 1,
        stages: Vec::new(),
        exporters: vec![exporter],
        ack_on: AckOn::Queue,
        limits: Limits::default(),
        durability: None,
    };
    Pipeline::build(config).await.unwrap()
}

impl Sites {
    pub(super) async fn open() -> Self {
        let limited = || ReceiverConfig {
            grpc: Some(GrpcConfig {
                max_recv_msg_size: LIMIT,
                ..config()
            }),
            http: Some(HttpConfig {
                max_request_body_size: LIMIT,
                ..http()
            }),
            ..ReceiverConfig::default()
        };
        let full = Backend {
            hangs: true,
            ..Backend::default()
        };
        let token = ServerAuth::Bearer(Bearer {
            header: "authorization".to_owned(),
            scheme: "Bearer".to_owned(),
            tokens: Tokens::Inline(vec!["swordfish".into()]),
        });
        let mut guarded = limited();
        if let (Some(grpc), Some(http)) = (&mut guarded.grpc, &mut guarded.http) {
            grpc.auth = Some(token.clone());
            http.auth = Some(token);
        }
        let sink = Sink::open();
        let sites = Self {
            open: Site::open(limited(), Backend::default()).await,
            full: Site::open(limited(), full).await,
            draining: Site::open(limited(), Backend::default()).await,
            guarded: Site::open(guarded, Backend::default()).await,
            refusing: (Collector::start_with(limited(), &sink).await, sink),
        };
        let mut filler = Client::connect(sites.full.collector.addr).await;
        filler.call(sent(0, None, &spans(1).encode_to_vec())).await;
        sites.draining.pipeline.close();
        sites
    }

    /// Connects to the port of gRPC of the site for `at`.
    pub(super) async fn client(&self, at: At) -> Client {
        Client::connect(self.collector(at).addr).await
    }

    /// Returns the address of the port of HTTP of the site for `at`.
    pub(super) fn http(&self, at: At) -> SocketAddr {
        self.collector(at).port(Transport::Http).address
    }

    fn collector(&self, at: At) -> &Collector {
        match at {
            At::Open => &self.open.collector,
            At::Full => &self.full.collector,
            At::Draining => &self.draining.collector,
            At::Guarded => &self.guarded.collector,
            At::Refusing(refusal) => {
                self.refusing.1.answer(refusal);
                &self.refusing.0
            }
        }
    }
}
