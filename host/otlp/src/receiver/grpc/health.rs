//! The health service: it says that the whole server serves, and each service that has a pipeline.

use http::{Request, Response};
use spandrel_pipeline::ingress::Ingress;
use spandrel_wire::Signal;
use tokio::sync::Mutex;
use tonic::body::Body;
use tonic_health::ServingStatus;
use tonic_health::pb::health_server::HealthServer;
use tonic_health::server::{HealthReporter, HealthService};
use tower::Service;

use crate::method;
use crate::receiver::request::RequestBody;

/// The longest request for a health check in bytes: it has the name of a service.
const REQUEST_BYTES: usize = 4 * 1024;

/// The health service of a receiver.
#[derive(Debug)]
pub(crate) struct Health {
    service: HealthServer<HealthService>,
    reporter: HealthReporter,
    /// The signals that were reported as serving; `None` once the receiver stops.
    carried: Mutex<Option<Vec<Signal>>>,
}

impl Health {
    pub(crate) fn new() -> Self {
        let reporter = HealthReporter::new();
        let service = HealthService::from_health_reporter(reporter.clone());
        Self {
            service: HealthServer::new(service).max_decoding_message_size(REQUEST_BYTES),
            reporter,
            carried: Mutex::new(Some(Vec::new())),
        }
    }

    /// Answers a request by the signals that the ingress carries now.
    pub(crate) async fn answer<B: RequestBody>(
        &self,
        request: Request<B>,
        ingress: &dyn Ingress,
    ) -> Response<Body> {
        self.report_changes(ingress).await;
        match self.service.clone().call(request).await {
            Ok(response) => response,
            Err(impossible) => match impossible {},
        }
    }

    /// Reports changes: a reload gives pipelines to signals, and takes them away.
    async fn report_changes(&self, ingress: &dyn Ingress) {
        let mut carried = self.carried.lock().await;
        let Some(carried) = carried.as_mut() else {
            return;
        };
        for signal in [Signal::Traces, Signal::Metrics, Signal::Logs] {
            let service = method::service(signal);
            let known = carried.contains(&signal);
            let carries = ingress.carries(signal);
            if carries && !known {
                let serving = ServingStatus::Serving;
                self.reporter.set_service_status(service, serving).await;
                carried.push(signal);
            } else if known && !carries {
                self.reporter.clone().clear_service_status(service).await;
                carried.retain(|other| *other != signal);
            }
        }
    }

    /// Reports that nothing is served any more, also to clients that watch.
    pub(crate) async fn stop(&self) {
        let carried = self.carried.lock().await.take();
        let services = carried.into_iter().flatten().map(method::service);
        for service in std::iter::once("").chain(services) {
            let status = ServingStatus::NotServing;
            self.reporter.set_service_status(service, status).await;
        }
    }
}
