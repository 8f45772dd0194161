//! The receivers: bound first, connected to their pipelines, served last.

mod ways;

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
use spandrel_otlp::receiver::{self, Closed, Sockets, Transport};
use spandrel_pipeline::ingress::Ingress;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use self::ways::Ways;
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
    ways: Ways,
}

#[derive(Debug)]
enum Source {
    Otlp(Box<receiver::Receiver>),
    File(FileReceiver),
}

impl BoundReceiver {
    /// Takes the ports or opens the files. A receiver that listens takes over the sockets of those
    /// `before` it that have the same endpoints. The counters of `before` go on.
    pub(crate) async fn bind(
        receiver: &Arc<Receiver>,
        timing: &DrainTiming,
        before: Option<Predecessor>,
    ) -> Result<Self, StartError> {
        let id = receiver.id.to_string();
        let source = match &receiver.kind {
            ReceiverKind::Otlp(settings) => {
                let mut settings = settings.as_ref().clone();
                settings.drain_grace = drain_grace(settings.drain_grace, timing);
                let bound = match &before {
                    Some(before) => {
                        receiver::Receiver::bind_beside(settings, &before.sockets).await
                    }
                    None => receiver::Receiver::bind(settings).await,
                };
                let bound = bound.map_err(|source| StartError::Receiver {
                    id: id.clone(),
                    source,
                })?;
                for port in bound.ports() {
                    let (endpoint, transport) = (port.address, port.transport.name());
                    info!(receiver = %id, transport, %endpoint, "receiver listening");
                }
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
            ways: before
                .map_or_else(Ways::new, |before| before.ways)
                .with_invalid_utf8(receiver.invalid_utf8),
        })
    }

    /// Returns the addresses it listens on, by its name; that of HTTP has the name of the transport
    /// behind it.
    pub(crate) fn addresses(&self) -> Vec<(String, SocketAddr)> {
        let id = &self.settings.id;
        let Source::Otlp(receiver) = &self.source else {
            return Vec::new();
        };
        let addresses = receiver.ports().into_iter().map(|port| {
            let name = match port.transport {
                Transport::Grpc => id.to_string(),
                Transport::Http => format!("{id} http"),
            };
            (name, port.address)
        });
        addresses.collect()
    }

    /// Connects it to the pipelines that name it.
    pub(crate) fn connect(&self, pipelines: &Pipelines) {
        self.ways.connect(&self.settings.id, pipelines);
    }

    /// Returns its counters, by transport.
    pub(crate) fn counters(&self) -> Vec<ReceiverStatus> {
        let receiver = self.settings.id.to_string();
        match &self.source {
            Source::Otlp(source) => {
                let ports = source.ports().into_iter().map(|port| ReceiverStatus {
                    receiver: receiver.clone(),
                    transport: port.transport.name(),
                    offered: self.ways.of(port.transport).offered(),
                    stats: Some(port.stats),
                });
                ports.collect()
            }
            Source::File(_) => vec![ReceiverStatus {
                receiver,
                transport: "file",
                offered: self.ways.main.offered(),
                stats: None,
            }],
        }
    }

    /// Accepts until told to stop.
    async fn serve(self, stop: CancellationToken) {
        let Ways { main, .. } = &self.ways;
        match self.source {
            Source::Otlp(receiver) => {
                let way =
                    |transport| -> Arc<dyn Ingress> { Arc::new(self.ways.of(transport).clone()) };
                let stopped = stop.cancelled_owned();
                let Closed { connections_cut } = receiver.serve(way, stopped).await;
                debug!(receiver = %self.settings.id, connections_cut, "receiver served");
            }
            Source::File(files) => files.replay(Arc::new(main.clone()), stop).await,
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
                problems.extend(error.map(|(transport, error)| {
                    let path = format!("{path}::protocols::{}", transport.name());
                    problem(path, &error)
                }));
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
    ways: Ways,
    sockets: Option<Sockets>,
    counters: Vec<ReceiverStatus>,
    stop: CancellationToken,
}

/// The parts that a receiver takes over from those whose place it takes.
#[derive(Debug)]
pub(crate) struct Predecessor {
    ways: Ways,
    sockets: Sockets,
}

/// Returns the endpoints on which a receiver listens.
fn endpoints(receiver: &Receiver) -> Vec<&str> {
    match &receiver.kind {
        ReceiverKind::Otlp(settings) => settings.endpoints().collect(),
        ReceiverKind::File(_) => Vec::new(),
    }
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
            ways: receiver.ways.clone(),
            sockets: match &receiver.source {
                Source::Otlp(receiver) => Some(receiver.sockets()),
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

    /// Returns what the new receiver takes over: the ways of a receiver at an endpoint of it,
    /// preferably of the same name, or else of the one of the same name, and the sockets of all of
    /// them. Another receiver at an endpoint counts only if it does not stay there, by the new
    /// receivers `named`. Port 0 is the endpoint of many.
    pub(crate) fn before(
        &self,
        receiver: &Receiver,
        named: &[&Arc<Receiver>],
    ) -> Option<Predecessor> {
        let at = endpoints(receiver);
        if at.is_empty() {
            return None;
        }
        let is_at = |other: &Receiver| endpoints(other).iter().any(|other| at.contains(other));
        let is_there = |known: &&ServingReceiver| is_at(&known.settings);
        let leaves = |known: &&ServingReceiver| {
            let mut named = named.iter().filter(|new| new.id == known.settings.id);
            !named.any(|new| is_at(new))
        };
        let same = self.serving.get(&receiver.id);
        let others = self.serving.values().filter(is_there).filter(leaves);
        let all: Vec<_> = same.filter(is_there).into_iter().chain(others).collect();
        let ways = &all.first().copied().or(same)?.ways;
        let sockets = all.iter().filter_map(|known| known.sockets.clone());
        Some(Predecessor {
            ways: ways.clone(),
            sockets: sockets.collect(),
        })
    }

    /// Connects every receiver to the pipelines that name it now.
    pub(crate) fn connect(&self, pipelines: &Pipelines) {
        for (id, serving) in &self.serving {
            serving.ways.connect(id, pipelines);
        }
    }

    pub(crate) fn counters(&self) -> Vec<ReceiverStatus> {
        let serving = self.serving.values();
        serving
            .flat_map(|serving| serving.counters.clone())
            .collect()
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
