//! The three OTLP services of the backend.

use std::time::Duration;

use opentelemetry_proto::tonic::collector::logs::v1::logs_service_server::LogsService;
use opentelemetry_proto::tonic::collector::logs::v1::{
    ExportLogsServiceRequest, ExportLogsServiceResponse,
};
use opentelemetry_proto::tonic::collector::metrics::v1::metrics_service_server::MetricsService;
use opentelemetry_proto::tonic::collector::metrics::v1::{
    ExportMetricsServiceRequest, ExportMetricsServiceResponse,
};
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::TraceService;
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTracePartialSuccess, ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::watch;
use tokio::time::{Instant, sleep};
use tonic::metadata::MetadataMap;
use tonic::{Code, Request, Response, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

use super::{Behaviour, Taken};

/// The state of the backend, shared by its connections.
#[derive(Debug)]
pub(super) struct Service {
    behaviour: watch::Sender<Behaviour>,
    taken: Mutex<Taken>,
    /// The number of answered calls. A test can wait for it to change.
    answered: watch::Sender<u64>,
}

impl Default for Service {
    fn default() -> Self {
        Self {
            behaviour: watch::Sender::new(Behaviour::Fine),
            taken: Mutex::default(),
            answered: watch::Sender::new(0),
        }
    }
}

impl Service {
    pub(super) fn answer(&self, behaviour: Behaviour) {
        self.behaviour.send_replace(behaviour);
    }

    pub(super) fn taken(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock()
    }

    pub(super) fn changes(&self) -> watch::Receiver<u64> {
        self.answered.subscribe()
    }

    /// Answers by the current behaviour. A call that waits notices when the behaviour changes. Returns the
    /// number of items to reject.
    async fn decide(&self) -> Result<u64, Status> {
        let mut behaviour = self.behaviour.subscribe();
        loop {
            let now = behaviour.borrow_and_update().clone();
            match now {
                Behaviour::Fine => return Ok(0),
                Behaviour::Partial { rejected } => return Ok(rejected),
                Behaviour::Failing { code, percent } if self.unlucky(percent) => {
                    return Err(Status::new(code, "the backend has a bad day"));
                }
                Behaviour::Failing { .. } => return Ok(0),
                Behaviour::Busy(after) => return Err(busy(after)),
                Behaviour::Slow(delay) => tokio::select! {
                    () = sleep(delay) => return Ok(0),
                    _ = behaviour.changed() => {}
                },
                Behaviour::Hanging => {
                    if behaviour.changed().await.is_err() {
                        return Err(Status::unavailable("the backend is gone"));
                    }
                }
            }
        }
    }

    /// Returns true if this call is one of the `percent` in a hundred that fail. They are spread
    /// evenly over the calls, so that no random numbers are needed.
    fn unlucky(&self, percent: u32) -> bool {
        let call = *self.answered.borrow();
        let percent = u64::from(percent);
        (call + 1) * percent / 100 != call * percent / 100
    }

    /// Handles one call: decides, accepts, notifies those who wait.
    async fn call<R>(
        &self,
        metadata: &MetadataMap,
        take: impl FnOnce(&mut Taken, u64) -> R,
    ) -> Result<Response<R>, Status> {
        let encoding = metadata.get("grpc-encoding");
        let encoding = encoding.and_then(|encoding| encoding.to_str().ok());
        let encoding = encoding.unwrap_or_default().to_owned();
        let decided = self.decide().await;
        let answer = {
            let mut taken = self.taken();
            taken.totals.calls += 1;
            taken.answered.push(Instant::now());
            taken.encodings.push(encoding);
            decided.map(|rejected| Response::new(take(&mut taken, rejected)))
        };
        self.answered.send_modify(|count| *count += 1);
        answer
    }
}

fn busy(after: Duration) -> Status {
    let details = ErrorDetails::with_retry_info(Some(after));
    Status::with_error_details(Code::Unavailable, "the backend is busy", details)
}

#[tonic::async_trait]
impl TraceService for Service {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let (metadata, _, request) = request.into_parts();
        let resources = request.resource_spans;
        self.call(&metadata, |taken, rejected| {
            let rejected = taken.take(resources, rejected);
            let partial_success = (rejected > 0).then(|| ExportTracePartialSuccess {
                rejected_spans: i64::try_from(rejected).unwrap_or(i64::MAX),
                error_message: "the backend is picky".to_owned(),
            });
            ExportTraceServiceResponse { partial_success }
        })
        .await
    }
}

#[tonic::async_trait]
impl MetricsService for Service {
    async fn export(
        &self,
        request: Request<ExportMetricsServiceRequest>,
    ) -> Result<Response<ExportMetricsServiceResponse>, Status> {
        let (metadata, _, request) = request.into_parts();
        self.call(&metadata, |taken, _| {
            taken.totals.metrics += 1;
            taken.metrics.push(request);
            ExportMetricsServiceResponse::default()
        })
        .await
    }
}

#[tonic::async_trait]
impl LogsService for Service {
    async fn export(
        &self,
        request: Request<ExportLogsServiceRequest>,
    ) -> Result<Response<ExportLogsServiceResponse>, Status> {
        let (metadata, _, request) = request.into_parts();
        self.call(&metadata, |taken, _| {
            taken.totals.logs += 1;
            taken.logs.push(request);
            ExportLogsServiceResponse::default()
        })
        .await
    }
}
