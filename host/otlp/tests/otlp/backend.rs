//! A real OTLP backend: opentelemetry-proto's generated services on tonic's server.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use opentelemetry_proto::tonic::collector::logs::v1::logs_service_server::{
    LogsService, LogsServiceServer,
};
use opentelemetry_proto::tonic::collector::logs::v1::{
    ExportLogsServiceRequest, ExportLogsServiceResponse,
};
use opentelemetry_proto::tonic::collector::metrics::v1::metrics_service_server::{
    MetricsService, MetricsServiceServer,
};
use opentelemetry_proto::tonic::collector::metrics::v1::{
    ExportMetricsServiceRequest, ExportMetricsServiceResponse,
};
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTracePartialSuccess, ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::codec::CompressionEncoding;
use tonic::metadata::MetadataMap;
use tonic::transport::Server;
use tonic::{Request, Response, Status};

/// The backend's answer to traces.
#[derive(Clone)]
pub(crate) enum Answer {
    Ok,
    Partial {
        rejected: i64,
        message: &'static str,
    },
    Status(Status),
    /// Waits for a permit of the gate.
    Wait,
}

#[derive(Clone)]
pub(crate) struct Backend {
    pub(crate) addr: SocketAddr,
    pub(crate) traces: Arc<Mutex<Vec<(MetadataMap, ExportTraceServiceRequest)>>>,
    pub(crate) metrics: Arc<Mutex<Vec<ExportMetricsServiceRequest>>>,
    pub(crate) logs: Arc<Mutex<Vec<ExportLogsServiceRequest>>>,
    pub(crate) answer: Arc<Mutex<Answer>>,
    pub(crate) gate: Arc<Semaphore>,
    pub(crate) waiting: Arc<Semaphore>,
}

impl Backend {
    pub(crate) async fn start() -> (Self, JoinSet<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let backend = Self {
            addr: listener.local_addr().expect("bound"),
            traces: Arc::default(),
            metrics: Arc::default(),
            logs: Arc::default(),
            answer: Arc::new(Mutex::new(Answer::Ok)),
            gate: Arc::new(Semaphore::new(0)),
            waiting: Arc::new(Semaphore::new(0)),
        };
        macro_rules! service {
            ($server:ident) => {
                $server::new(backend.clone())
                    .accept_compressed(CompressionEncoding::Gzip)
                    .accept_compressed(CompressionEncoding::Zstd)
                    .max_decoding_message_size(64 << 20)
            };
        }
        let server = Server::builder()
            .add_service(service!(TraceServiceServer))
            .add_service(service!(MetricsServiceServer))
            .add_service(service!(LogsServiceServer));
        let mut task = JoinSet::new();
        task.spawn(async move {
            let incoming = TcpListenerStream::new(listener);
            server.serve_with_incoming(incoming).await.expect("serves");
        });
        (backend, task)
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    pub(crate) fn answers(&self, answer: Answer) {
        *self.answer.lock().unwrap() = answer;
    }
}

#[tonic::async_trait]
impl TraceService for Backend {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let (metadata, _, message) = request.into_parts();
        let answer = self.answer.lock().unwrap().clone();
        let mut response = ExportTraceServiceResponse::default();
        match answer {
            Answer::Ok => {}
            Answer::Partial { rejected, message } => {
                response.partial_success = Some(ExportTracePartialSuccess {
                    rejected_spans: rejected,
                    error_message: message.to_owned(),
                });
            }
            Answer::Status(status) => return Err(status),
            Answer::Wait => {
                self.waiting.add_permits(1);
                self.gate.acquire().await.unwrap().forget();
            }
        }
        self.traces.lock().unwrap().push((metadata, message));
        Ok(Response::new(response))
    }
}

#[tonic::async_trait]
impl MetricsService for Backend {
    async fn export(
        &self,
        request: Request<ExportMetricsServiceRequest>,
    ) -> Result<Response<ExportMetricsServiceResponse>, Status> {
        self.metrics.lock().unwrap().push(request.into_inner());
        Ok(Response::new(ExportMetricsServiceResponse::default()))
    }
}

#[tonic::async_trait]
impl LogsService for Backend {
    async fn export(
        &self,
        request: Request<ExportLogsServiceRequest>,
    ) -> Result<Response<ExportLogsServiceResponse>, Status> {
        self.logs.lock().unwrap().push(request.into_inner());
        Ok(Response::new(ExportLogsServiceResponse::default()))
    }
}
