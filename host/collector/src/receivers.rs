//! The receivers: bound first, connected to their pipelines, served last.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use spandrel_config::id::Id;
use spandrel_config::problem::Problem;
use spandrel_config::receiver::{Receiver, ReceiverKind};
use spandrel_config::service::DrainTiming;
use spandrel_otlp::receiver::{self, Closed, Socket};
use spandrel_pipeline::ingress::{FanOut, Ingress};
use spandrel_pipeline::pipeline::Pipeline;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use crate::file::receiver::FileReceiver;
use crate::pipelines::Pipelines;
use crate::problems::problem;
use crate::start_error::StartError;
use crate::status::ReceiverStatus;
use crate::time_text::millis;

/// A receiver that has its port or its files, and accepts nothing yet.
#[derive(Debug)]
pub(crate) struct BoundReceiver {
    settings: Arc<Receiver>,
    source: Source,
    /// Leads nowhere until it is connected.
    ingress: FanOut,
}

#[derive(Debug)]
enum Source {
    Otlp(Box<receiver::Receiver>),
    File(FileReceiver),
}

impl BoundReceiver {
    /// Takes the port or opens the files. A receiver that listens takes over the socket of the
    /// receiver `before` it if both have the same endpoint. The counters of `before` go on.
    pub(crate) async fn bind(
        receiver: &Arc<Receiver>,
        timing: &DrainTiming,
        before: Option<&ServingReceiver>,
    ) -> Result<Self, StartError> {
        let id = receiver.id.to_string();
        let source = match &receiver.kind {
            ReceiverKind::Otlp(settings) => {
                let mut settings = settings.as_ref().clone();
                settings.drain_grace = drain_grace(settings.drain_grace, timing);
                let bound = match before.and_then(|before| before.socket.as_ref()) {
                    Some(socket) => receiver::Receiver::bind_beside(settings, socket).await,
                    None => receiver::Receiver::bind(settings).await,
                };
                let bound = bound.map_err(|source| StartError::Receiver {
                    id: id.clone(),
                    source,
                })?;
                let endpoint = bound.local_addr();
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
            settings: Arc::clone(receiver),
            source,
            ingress: before
                .map_or_else(|| Pipeline::fan_out([]), |before| before.ingress.clone())
                .with_invalid_utf8(receiver.invalid_utf8),
        })
    }

    /// Returns the address it listens on, if it listens.
    pub(crate) fn address(&self) -> Option<(String, SocketAddr)> {
        match &self.source {
            Source::Otlp(receiver) => Some((self.settings.id.to_string(), receiver.local_addr())),
            Source::File(_) => None,
        }
    }

    /// Connects it to the pipelines that name it.
    pub(crate) fn connect(&self, pipelines: &Pipelines) {
        connect(&self.ingress, &self.settings.id, pipelines);
    }

    /// Returns its counters.
    pub(crate) fn counters(&self) -> ReceiverStatus {
        ReceiverStatus {
            receiver: self.settings.id.to_string(),
            transport: match self.source {
                Source::Otlp(_) => "grpc",
                Source::File(_) => "file",
            },
            offered: self.ingress.offered(),
            stats: match &self.source {
                Source::Otlp(receiver) => Some(receiver.stats()),
                Source::File(_) => None,
            },
        }
    }

    /// Accepts until told to stop.
    async fn serve(self, stop: CancellationToken) {
        let ingress: Arc<dyn Ingress> = Arc::new(self.ingress);
        match self.source {
            Source::Otlp(receiver) => {
                let Closed { connections_cut } =
                    receiver.serve(ingress, stop.cancelled_owned()).await;
                debug!(receiver = %self.settings.id, connections_cut, "receiver served");
            }
            Source::File(files) => files.replay(ingress, stop).await,
        }
    }
}

/// Returns the problems of the receivers that can be found without listening. Must be called inside
/// the runtime.
pub(crate) fn check(receivers: &[Arc<Receiver>]) -> Vec<Problem> {
    let mut problems = Vec::new();
    for receiver in receivers {
        let path = format!("receivers::{}", receiver.id);
        match &receiver.kind {
            ReceiverKind::Otlp(settings) => {
                let error = receiver::Receiver::check(settings).err();
                let path = format!("{path}::protocols::grpc");
                problems.extend(error.map(|error| problem(path, &error)));
            }
            ReceiverKind::File(settings) => {
                problems.extend(settings.paths.iter().filter_map(|file| {
                    let error = can_be_read(file).err()?;
                    let what = format!("cannot open {}: {error}", file.display());
                    Some(Problem::nowhere(path.clone(), what))
                }))
            }
        }
    }
    problems
}

fn can_be_read(path: &Path) -> io::Result<()> {
    // Opening a pipe would wait for its writer.
    if fs::metadata(path)?.is_file() {
        fs::File::open(path)?;
    }
    Ok(())
}

fn connect(ingress: &FanOut, id: &Id, pipelines: &Pipelines) {
    ingress.redirect(&Pipeline::fan_out(pipelines.with_receiver(id)));
}

/// The receivers at work.
#[derive(Debug, Default)]
pub(crate) struct Receivers {
    /// The serving tasks. A receiver that was told to stop stays in here until it is done.
    tasks: JoinSet<()>,
    serving: BTreeMap<Id, ServingReceiver>,
}

/// One receiver at work.
#[derive(Debug)]
pub(crate) struct ServingReceiver {
    settings: Arc<Receiver>,
    ingress: FanOut,
    socket: Option<Socket>,
    counters: ReceiverStatus,
    stop: CancellationToken,
}

/// Returns the grace of a receiver's drain: at most half of the time after the delay. It ends
/// before the receivers are cut, and leaves as much time for the pipelines.
fn drain_grace(usual: Duration, timing: &DrainTiming) -> Duration {
    usual.min(timing.timeout.saturating_sub(timing.delay) / 2)
}

/// The part of the deadline that is reserved for the pipelines, whatever the receivers do. Under a
/// short deadline a quarter of it is reserved instead.
const RESERVED_FOR_PIPELINES: Duration = Duration::from_secs(1);

impl Receivers {
    pub(crate) fn start(receivers: Vec<BoundReceiver>) -> Self {
        let mut serving = Self::default();
        receivers
            .into_iter()
            .for_each(|receiver| serving.add(receiver));
        serving
    }

    /// Starts a receiver. A receiver of the same name goes on accepting until the new one accepts,
    /// and is then told to stop.
    pub(crate) fn add(&mut self, receiver: BoundReceiver) {
        while self.tasks.try_join_next().is_some() {}
        let stop = CancellationToken::new();
        let serving = ServingReceiver {
            settings: Arc::clone(&receiver.settings),
            ingress: receiver.ingress.clone(),
            socket: match &receiver.source {
                Source::Otlp(receiver) => Some(receiver.socket()),
                Source::File(_) => None,
            },
            counters: receiver.counters(),
            stop: stop.clone(),
        };
        self.tasks.spawn(receiver.serve(stop));
        let before = self.serving.insert(serving.settings.id.clone(), serving);
        if let Some(before) = before {
            before.stop.cancel();
        }
    }

    /// Tells the receivers for which `stays` is false to stop. Returns their names.
    pub(crate) fn retain(&mut self, stays: impl Fn(&Id) -> bool) -> Vec<Id> {
        let gone = self.serving.extract_if(.., |id, _| !stays(id));
        let gone = gone.map(|(id, serving)| {
            serving.stop.cancel();
            id
        });
        gone.collect()
    }

    /// Returns true if a receiver is at work with exactly these settings.
    pub(crate) fn has(&self, receiver: &Receiver) -> bool {
        let serving = self.serving.get(&receiver.id);
        serving.is_some_and(|serving| *serving.settings == *receiver)
    }

    /// Returns the receiver whose place the new one takes: one at its endpoint, preferably of the
    /// same name, or else the one of the same name. Another receiver at the endpoint counts only if
    /// it does not stay there, by the new receivers `named`. Port 0 is the endpoint of many.
    pub(crate) fn before(
        &self,
        receiver: &Receiver,
        named: &[&Arc<Receiver>],
    ) -> Option<&ServingReceiver> {
        let endpoint = |receiver: &Receiver| match &receiver.kind {
            ReceiverKind::Otlp(settings) => Some(settings.endpoint.clone()),
            ReceiverKind::File(_) => None,
        };
        let at = endpoint(receiver)?;
        let is_there = |known: &&ServingReceiver| endpoint(&known.settings).as_ref() == Some(&at);
        let leaves = |known: &&ServingReceiver| {
            let mut named = named.iter().filter(|new| new.id == known.settings.id);
            !named.any(|new| endpoint(new).as_ref() == Some(&at))
        };
        let same = self.serving.get(&receiver.id);
        let mut others = self.serving.values().filter(is_there).filter(leaves);
        same.filter(is_there).or_else(|| others.next()).or(same)
    }

    /// Connects every receiver to the pipelines that name it now.
    pub(crate) fn connect(&self, pipelines: &Pipelines) {
        for (id, serving) in &self.serving {
            connect(&serving.ingress, id, pipelines);
        }
    }

    pub(crate) fn counters(&self) -> Vec<ReceiverStatus> {
        let serving = self.serving.values();
        serving.map(|serving| serving.counters.clone()).collect()
    }

    /// Tells every receiver to accept nothing more.
    pub(crate) fn stop(&self) {
        for serving in self.serving.values() {
            serving.stop.cancel();
        }
    }

    /// Ends every receiver at once.
    pub(crate) async fn abort(&mut self) {
        self.tasks.shutdown().await;
    }

    /// Waits until every request in flight is answered.
    pub(crate) async fn finish(&mut self, deadline: Instant) {
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
            let timing = DrainTiming {
                timeout: Duration::from_millis(timeout),
                delay: Duration::from_millis(delay),
            };
            assert_eq!(drain_grace(usual, &timing), Duration::from_millis(grace));
        }
    }
}
