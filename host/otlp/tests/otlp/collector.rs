//! A running receiver, and the pipeline behind it: a double that records what it is offered.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use spandrel_otlp::receiver::{
    Closed, GrpcConfig, PortStatus, Receiver, ReceiverConfig, ReceiverStats, Sockets, Transport,
};
use spandrel_pipeline::ingress::{Acceptance, Ingress};
use spandrel_pipeline::refused::Refused;
use spandrel_wire::Signal;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// An ingress that takes what it is offered, refuses it, or holds the sender until the gate opens.
#[derive(Debug)]
pub(crate) struct Sink {
    /// The signals that it carries.
    signals: Mutex<Vec<Signal>>,
    seen: Mutex<Vec<(Signal, Bytes)>>,
    answer: Mutex<fn() -> Result<(), Refused>>,
    gate: Semaphore,
    /// The number of offers begun so far.
    offers: watch::Sender<usize>,
}

impl Sink {
    /// Returns a sink that takes everything at once.
    pub(crate) fn open() -> Arc<Self> {
        Self::with_permits(Semaphore::MAX_PERMITS)
    }

    /// Returns a sink that holds every offer until [`Sink::release`].
    pub(crate) fn gated() -> Arc<Self> {
        Self::with_permits(0)
    }

    fn with_permits(permits: usize) -> Arc<Self> {
        Arc::new(Self {
            signals: Mutex::new(vec![Signal::Traces, Signal::Metrics, Signal::Logs]),
            seen: Mutex::default(),
            answer: Mutex::new(|| Ok(())),
            gate: Semaphore::new(permits),
            offers: watch::Sender::new(0),
        })
    }

    /// Gives this answer from now on.
    pub(crate) fn answer(&self, answer: fn() -> Result<(), Refused>) {
        *self.answer.lock().unwrap() = answer;
    }

    /// Carries these signals from now on.
    pub(crate) fn carry(&self, signals: &[Signal]) {
        *self.signals.lock().unwrap() = signals.to_vec();
    }

    /// Lets this many offers through.
    pub(crate) fn release(&self, offers: usize) {
        self.gate.add_permits(offers);
    }

    /// Resolves when this many offers have begun.
    pub(crate) async fn offered(&self, offers: usize) {
        let mut begun = self.offers.subscribe();
        begun.wait_for(|begun| *begun >= offers).await.unwrap();
    }

    /// Returns the number of offers begun so far.
    pub(crate) fn offers(&self) -> usize {
        *self.offers.borrow()
    }

    /// Returns the requests that were taken, in order.
    pub(crate) fn taken(&self) -> Vec<(Signal, Bytes)> {
        self.seen.lock().unwrap().clone()
    }
}

impl Ingress for Sink {
    fn offer(&self, signal: Signal, request: Bytes) -> BoxFuture<'_, Result<Acceptance, Refused>> {
        Box::pin(async move {
            self.offers.send_modify(|offers| *offers += 1);
            self.gate.acquire().await.unwrap().forget();
            let answer = *self.answer.lock().unwrap();
            answer()?;
            self.seen.lock().unwrap().push((signal, request));
            Ok(Acceptance::default())
        })
    }

    fn carries(&self, signal: Signal) -> bool {
        self.signals.lock().unwrap().contains(&signal)
    }
}

/// A receiver that serves in the background.
pub(crate) struct Collector {
    /// The address of its first port.
    pub(crate) addr: SocketAddr,
    /// The counters of its first port.
    pub(crate) stats: Arc<ReceiverStats>,
    pub(crate) sockets: Sockets,
    ports: Vec<PortStatus>,
    stop: CancellationToken,
    task: JoinSet<Closed>,
}

impl Collector {
    /// Starts a receiver with the default settings that offers its requests to this sink.
    pub(crate) async fn start(sink: &Arc<Sink>) -> Self {
        Self::start_with(config(), sink).await
    }

    pub(crate) async fn start_with<I>(config: impl Into<ReceiverConfig>, ingress: &Arc<I>) -> Self
    where
        I: Ingress + 'static,
    {
        let receiver = Receiver::bind(config.into()).await.expect("a free port");
        Self::serve(receiver, Arc::clone(ingress) as Arc<dyn Ingress>)
    }

    /// Starts a receiver that takes over from this one, and then stops this one.
    pub(crate) async fn hand_over(
        &self,
        config: impl Into<ReceiverConfig>,
        sink: &Arc<Sink>,
    ) -> Self {
        let receiver = Receiver::bind_beside(config.into(), &self.sockets).await;
        let ingress = Arc::clone(sink) as Arc<dyn Ingress>;
        let next = Self::serve(receiver.expect("the same socket"), ingress);
        self.stop();
        next
    }

    fn serve(receiver: Receiver, ingress: Arc<dyn Ingress>) -> Self {
        let (sockets, ports) = (receiver.sockets(), receiver.ports());
        let stop = CancellationToken::new();
        let mut task = JoinSet::new();
        let stopped = stop.clone().cancelled_owned();
        task.spawn(receiver.serve(move |_| Arc::clone(&ingress), stopped));
        Self {
            addr: ports[0].address,
            stats: Arc::clone(&ports[0].stats),
            sockets,
            ports,
            stop,
            task,
        }
    }

    /// Returns the port of this transport.
    pub(crate) fn port(&self, transport: Transport) -> &PortStatus {
        let mut ports = self.ports.iter();
        ports
            .find(|port| port.transport == transport)
            .expect("a port")
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// Tells it to stop.
    pub(crate) fn stop(&self) {
        self.stop.cancel();
    }

    /// Resolves when it has stopped.
    pub(crate) async fn closed(mut self) -> Closed {
        self.task
            .join_next()
            .await
            .expect("one task")
            .expect("no panic")
    }
}

pub(crate) fn config() -> GrpcConfig {
    GrpcConfig::new("127.0.0.1:0")
}
