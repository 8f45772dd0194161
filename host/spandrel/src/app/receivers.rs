//! The receivers: bound first, connected to their pipelines, served last.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use spandrel_otlp::receiver::{self, Closed};
use spandrel_pipeline::ingress::{FanOut, Ingress};
use spandrel_pipeline::pipeline::Pipeline;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::drain::Timing;
use super::{StartError, millis};
use crate::config::Config;
use crate::config::receiver::{Receiver, ReceiverKind};
use crate::file::receiver::FileReceiver;
use crate::telemetry::metrics::ReceiverSource;

/// A receiver that has its port or its files, and accepts nothing yet.
#[derive(Debug)]
pub(super) struct Bound {
    id: String,
    source: Source,
    ingress: Option<FanOut>,
}

#[derive(Debug)]
enum Source {
    Otlp(Box<receiver::Receiver>),
    File(FileReceiver),
}

impl Bound {
    pub(super) async fn bind(
        receiver: &Receiver,
        timing: &Timing,
        addresses: &mut Vec<(String, SocketAddr)>,
    ) -> Result<Self, StartError> {
        let id = receiver.id.to_string();
        let source = match &receiver.kind {
            ReceiverKind::Otlp(settings) => {
                let mut settings = settings.as_ref().clone();
                settings.drain_grace = drain_grace(settings.drain_grace, timing);
                let bound = receiver::Receiver::bind(settings).await;
                let bound = bound.map_err(|source| StartError::Receiver {
                    id: id.clone(),
                    source,
                })?;
                let endpoint = bound.local_addr();
                addresses.push((id.clone(), endpoint));
                info!(receiver = %id, %endpoint, "receiver listening");
                Source::Otlp(Box::new(bound))
            }
            ReceiverKind::File(settings) => {
                let opened = FileReceiver::open(&id, &settings.paths);
                Source::File(opened.map_err(|(path, source)| StartError::File {
                    id: id.clone(),
                    path,
                    source,
                })?)
            }
        };
        Ok(Self {
            id,
            source,
            ingress: None,
        })
    }

    /// Joins it to the pipelines that name it. `pipelines` are in the order of the configuration.
    pub(super) fn connect(&mut self, config: &Config, pipelines: &[Pipeline]) {
        let named = config
            .service
            .pipelines
            .iter()
            .zip(pipelines)
            .filter(|(config, _)| {
                let mut receivers = config.receivers.iter();
                receivers.any(|receiver| receiver.id.as_str() == self.id)
            });
        self.ingress = Some(Pipeline::fan_out(named.map(|(_, pipeline)| pipeline)));
    }

    /// Its counters.
    pub(super) fn counters(&self) -> Option<ReceiverSource> {
        let transport = match self.source {
            Source::Otlp(_) => "grpc",
            Source::File(_) => "file",
        };
        Some(ReceiverSource {
            receiver: self.id.clone(),
            transport,
            offered: self.ingress.as_ref()?.offered(),
        })
    }

    /// Accepts until told to stop.
    async fn serve(self, stop: CancellationToken) {
        let Some(ingress) = self.ingress else {
            return;
        };
        let ingress: Arc<dyn Ingress> = Arc::new(ingress);
        match self.source {
            Source::Otlp(receiver) => {
                let Closed { connections_cut } =
                    receiver.serve(ingress, stop.cancelled_owned()).await;
                debug!(receiver = %self.id, connections_cut, "receiver served");
            }
            Source::File(files) => files.replay(ingress, stop).await,
        }
    }
}

/// The receivers at work.
#[derive(Debug)]
pub(super) struct Serving {
    tasks: JoinSet<()>,
    stop: CancellationToken,
}

/// The receivers' own grace ends before they are cut, and leaves as much for the pipelines.
fn drain_grace(usual: Duration, timing: &Timing) -> Duration {
    usual.min(timing.timeout.saturating_sub(timing.delay) / 2)
}

/// What is left of the deadline for the pipelines, whatever the receivers do; of a short deadline
/// it is a quarter.
const RESERVED_FOR_PIPELINES: Duration = Duration::from_secs(1);

impl Serving {
    pub(super) fn start(receivers: Vec<Bound>) -> Self {
        let stop = CancellationToken::new();
        let mut tasks = JoinSet::new();
        for receiver in receivers {
            tasks.spawn(receiver.serve(stop.clone()));
        }
        Self { tasks, stop }
    }

    /// Tells every receiver to accept nothing more.
    pub(super) fn stop(&self) {
        self.stop.cancel();
    }

    /// Ends every receiver at once.
    pub(super) async fn abort(&mut self) {
        self.tasks.shutdown().await;
    }

    /// Waits until every request in flight is answered.
    pub(super) async fn finish(&mut self, deadline: Instant) {
        let started = Instant::now();
        let left = deadline.saturating_duration_since(started);
        let reserved = RESERVED_FOR_PIPELINES.min(left / 4);
        let deadline = deadline.checked_sub(reserved).unwrap_or(deadline);
        let all = async { while self.tasks.join_next().await.is_some() {} };
        if tokio::time::timeout_at(deadline, all).await.is_err() {
            warn!(
                elapsed_ms = millis(started),
                "receivers did not stop in time and are cut"
            );
            self.tasks.shutdown().await;
        }
        info!(elapsed_ms = millis(started), "receivers stopped");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The grace of a receiver fits into a drain that is shorter than usual, its delay included.
    #[test]
    fn the_grace_fits_into_the_drain() {
        let usual = Duration::from_secs(5);
        for (timeout, delay, grace) in [(25_000, 0, 5000), (4000, 0, 2000), (25_000, 24_000, 500)] {
            let timing = Timing {
                timeout: Duration::from_millis(timeout),
                delay: Duration::from_millis(delay),
            };
            assert_eq!(drain_grace(usual, &timing), Duration::from_millis(grace));
        }
    }
}
