//! Connections that die unnoticed, and backends behind a name with several addresses.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use prost::Message;
use spandrel_otlp::exporter::resolve::Resolve;
use spandrel_otlp::exporter::{Balancer, ClientKeepalive, ExporterConfig, GrpcExporter};
use spandrel_pipeline::exporter::{Exporter, Outcome};
use spandrel_wire::Signal;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::backend::Backend;
use crate::round_trip::spans;

fn batch() -> Bytes {
    spans(3).encode_to_vec().into()
}

async fn send(exporter: &GrpcExporter) -> Outcome {
    exporter.export(Signal::Traces, batch()).await
}

/// Sends until an attempt succeeds. Returns how many attempts did not.
async fn failures(exporter: &GrpcExporter) -> usize {
    for failures in 0..20 {
        if matches!(send(exporter).await, Outcome::Sent) {
            return failures;
        }
    }
    panic!("20 attempts failed");
}

/// A way to a backend that forgets its connections, as a firewall does: their bytes go nowhere, and
/// nobody is told. New connections work.
struct Firewall {
    address: SocketAddr,
    /// The number of times that it forgot its connections.
    forgot: watch::Sender<u64>,
    connections: watch::Receiver<u64>,
    _task: JoinSet<()>,
}

impl Firewall {
    async fn before(backend: SocketAddr) -> Self {
        Self::at("127.0.0.1:0", backend).await
    }

    async fn at(address: &str, backend: SocketAddr) -> Self {
        let listener = TcpListener::bind(address).await.expect("a port");
        let address = listener.local_addr().expect("bound");
        let (forgot, forgets) = watch::channel(0);
        let (count, connections) = watch::channel(0);
        let mut task = JoinSet::new();
        task.spawn(async move {
            let mut open = JoinSet::new();
            while let Ok((mut inside, _)) = listener.accept().await {
                count.send_modify(|count| *count += 1);
                let mut forgets = forgets.clone();
                forgets.mark_unchanged();
                open.spawn(async move {
                    let mut outside = TcpStream::connect(backend).await.expect("the backend");
                    tokio::select! {
                        _ = copy_bidirectional(&mut inside, &mut outside) => {}
                        _ = forgets.changed() => std::future::pending::<()>().await,
                    }
                });
            }
        });
        Self {
            address,
            forgot,
            connections,
            _task: task,
        }
    }

    fn forget(&self) {
        self.forgot.send_modify(|count| *count += 1);
    }

    fn connections(&self) -> u64 {
        *self.connections.borrow()
    }
}

fn config(url: &str) -> ExporterConfig {
    ExporterConfig {
        // This is twice as long as a busy machine takes.
        timeout: Duration::from_secs(2),
        ..ExporterConfig::new(url)
    }
}

/// A forgotten connection costs one attempt: that one finds out and fails, and the next one has a
/// new connection.
#[tokio::test]
async fn a_dead_connection_costs_one_attempt() {
    let (backend, _task) = Backend::start().await;
    let firewall = Firewall::before(backend.addr).await;
    let exporter = GrpcExporter::new(&config(&format!("http://{}", firewall.address))).unwrap();
    for forgotten in 1..=3 {
        assert_eq!(failures(&exporter).await, 0);
        assert_eq!(firewall.connections(), forgotten);
        firewall.forget();
        assert_eq!(failures(&exporter).await, 1);
    }
}

/// A connection on which other answers come is not dead, however long one answer takes.
#[tokio::test]
async fn a_slow_answer_costs_no_connection() {
    let (backend, _task) = Backend::start().await;
    let firewall = Firewall::before(backend.addr).await;
    let url = format!("http://{}", firewall.address);
    let exporter = Arc::new(GrpcExporter::new(&config(&url)).unwrap());
    backend.answers(crate::backend::Answer::Wait);
    let slow = Arc::clone(&exporter);
    let mut task = JoinSet::new();
    task.spawn(async move { send(&slow).await });
    drop(backend.waiting.acquire().await.unwrap());
    backend.answers(crate::backend::Answer::Ok);
    while task.is_empty() || task.try_join_next().is_none() {
        assert!(matches!(send(&exporter).await, Outcome::Sent));
    }
    assert_eq!(firewall.connections(), 1);
}

/// Keepalive finds a dead connection within its own time, long before an attempt with a long
/// timeout ends.
#[tokio::test]
async fn keepalive_finds_dead_connections() {
    let (backend, _task) = Backend::start().await;
    let firewall = Firewall::before(backend.addr).await;
    let config = ExporterConfig {
        timeout: Duration::from_secs(120),
        keepalive: Some(ClientKeepalive {
            time: Duration::from_millis(200),
            timeout: Duration::from_millis(300),
            ..ClientKeepalive::default()
        }),
        ..ExporterConfig::new(format!("http://{}", firewall.address))
    };
    let exporter = GrpcExporter::new(&config).unwrap();
    assert_eq!(failures(&exporter).await, 0);
    firewall.forget();
    let began = Instant::now();
    assert_eq!(failures(&exporter).await, 1);
    assert!(
        began.elapsed() < Duration::from_secs(60),
        "{:?}",
        began.elapsed()
    );
}

/// Keepalive is on by default.
#[test]
fn keepalive_is_the_default() {
    let keepalive = ExporterConfig::new("http://backend:4317").keepalive;
    let keepalive = keepalive.expect("it is on");
    assert_eq!(
        (
            keepalive.time,
            keepalive.timeout,
            keepalive.permit_without_stream
        ),
        (Duration::from_secs(30), Duration::from_secs(10), false)
    );
}

/// A name that has these addresses at the moment.
#[derive(Clone, Debug, Default)]
struct Name(Arc<Mutex<Vec<SocketAddr>>>);

impl Name {
    fn has<'a>(&self, addresses: impl IntoIterator<Item = &'a SocketAddr>) {
        *self.0.lock().unwrap() = addresses.into_iter().copied().collect();
    }
}

impl Resolve for Name {
    fn resolve<'a>(
        &'a self,
        host: &'a str,
        port: u16,
    ) -> BoxFuture<'a, io::Result<Vec<SocketAddr>>> {
        assert_eq!((host, port), ("backend", 4317));
        Box::pin(std::future::ready(Ok(self.0.lock().unwrap().clone())))
    }
}

/// A backend at an address. It ends with its connections when it is dropped.
struct Pod {
    backend: Backend,
    _task: JoinSet<()>,
    door: Firewall,
}

impl Pod {
    async fn start(address: &str) -> Self {
        let (backend, task) = Backend::start().await;
        let door = Firewall::at(address, backend.addr).await;
        Self {
            backend,
            _task: task,
            door,
        }
    }

    fn taken(&self) -> usize {
        self.backend.traces.lock().unwrap().len()
    }
}

/// Three backends behind one name.
struct Three {
    name: Name,
    pods: Vec<Pod>,
    exporter: GrpcExporter,
}

impl Three {
    async fn start(balancer: Balancer) -> Self {
        let mut pods = Vec::new();
        for address in ["127.0.0.1:0", "127.0.0.2:0", "127.0.0.3:0"] {
            pods.push(Pod::start(address).await);
        }
        let name = Name::default();
        name.has(pods.iter().map(|pod| &pod.door.address));
        let config = ExporterConfig {
            balancer,
            ..config("http://backend:4317")
        };
        let exporter = GrpcExporter::with_resolver(&config, Arc::new(name.clone())).unwrap();
        Self {
            name,
            pods,
            exporter,
        }
    }

    fn taken(&self) -> Vec<usize> {
        self.pods.iter().map(Pod::taken).collect()
    }

    /// Sends until each of these backends has taken something since.
    async fn send_until(&self, which: &[usize]) {
        let before = self.taken();
        let deadline = Instant::now() + Duration::from_secs(60);
        let took = |taken: &[usize]| which.iter().all(|at| taken[*at] > before[*at]);
        while !took(&self.taken()) {
            drop(send(&self.exporter).await);
            assert!(Instant::now() < deadline, "{before:?} {:?}", self.taken());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Sends this many requests. Returns how many of them each backend took, and how many failed.
    async fn share(&self, attempts: usize) -> (Vec<usize>, usize) {
        let before = self.taken();
        let mut failed = 0;
        for _ in 0..attempts {
            failed += usize::from(!matches!(send(&self.exporter).await, Outcome::Sent));
        }
        let share = self.taken().into_iter().zip(before);
        (
            share.map(|(after, before)| after - before).collect(),
            failed,
        )
    }
}

/// All addresses get the same share. One that goes away costs at most the requests on their way to
/// it, and one that replaces it is found.
#[tokio::test]
async fn round_robin_uses_all_addresses() {
    let mut three = Three::start(Balancer::RoundRobin).await;
    three.send_until(&[0, 1, 2]).await;
    assert_eq!(three.share(30).await, (vec![10, 10, 10], 0));
    // The second backend ends; the name still has it.
    let gone = three.pods.remove(1);
    drop(gone);
    three.send_until(&[0, 1]).await;
    assert_eq!(three.share(30).await, (vec![15, 15], 0));
    // A new backend takes its place, at another address: the lost connection makes the name looked
    // up again.
    three.pods.push(Pod::start("127.0.0.4:0").await);
    three
        .name
        .has(three.pods.iter().map(|pod| &pod.door.address));
    three.send_until(&[2]).await;
    assert_eq!(three.share(30).await, (vec![10, 10, 10], 0));
}

/// New addresses get their share even if no connection was lost, and those that are gone from the
/// name get nothing more.
#[tokio::test]
async fn a_name_is_looked_up_again() {
    let three = Three::start(Balancer::RoundRobin).await;
    three.name.has([&three.pods[0].door.address]);
    assert_eq!(three.share(10).await, (vec![10, 0, 0], 0));
    three
        .name
        .has([&three.pods[1].door.address, &three.pods[2].door.address]);
    assert_eq!(
        three.share(10).await,
        (vec![10, 0, 0], 0),
        "so soon it is not"
    );
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(31)).await;
    tokio::time::resume();
    three.send_until(&[1, 2]).await;
    assert_eq!(three.share(10).await, (vec![0, 5, 5], 0));
}

/// The first address that can be connected to is used, as long as it can be.
#[tokio::test]
async fn pick_first_uses_one_address() {
    let mut three = Three::start(Balancer::PickFirst).await;
    assert_eq!(three.share(10).await, (vec![10, 0, 0], 0));
    drop(three.pods.remove(0));
    three.send_until(&[0]).await;
    assert_eq!(three.share(10).await, (vec![10, 0], 0));
}

/// An address where nobody answers, or where something accepts connections and says nothing, as a
/// frozen process does, costs an attempt or two, and not every second one.
#[tokio::test]
async fn addresses_that_do_not_work_are_left_out() {
    let (backend, _task) = Backend::start().await;
    let frozen = TcpListener::bind("127.0.0.2:0").await.unwrap();
    let closed = TcpListener::bind("127.0.0.3:0").await.unwrap();
    let name = Name::default();
    let addresses = [&closed, &frozen].map(|listener| listener.local_addr().unwrap());
    name.has(addresses.iter().chain([&backend.addr]));
    drop(closed);
    let exporter = GrpcExporter::with_resolver(&config("http://backend:4317"), Arc::new(name));
    let exporter = exporter.unwrap();
    assert!(failures(&exporter).await <= 1);
    for _ in 0..20 {
        assert_eq!(failures(&exporter).await, 0);
    }
    drop(frozen);
}

/// A backend that cannot be reached is reported with the cause, and is worth another attempt.
#[tokio::test]
async fn what_is_wrong_is_said() {
    let exporter = |name: &Name| {
        let config = config("http://backend:4317");
        GrpcExporter::with_resolver(&config, Arc::new(name.clone())).unwrap()
    };
    let name = Name::default();
    let nobody = exporter(&name);
    let Outcome::Retry { error, .. } = send(&nobody).await else {
        panic!("there is nobody");
    };
    assert_eq!(
        error,
        "cannot send to http://backend:4317: cannot look up backend: it has no address"
    );
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    name.has([&listener.local_addr().unwrap()]);
    drop(listener);
    let Outcome::Retry { error, .. } = send(&nobody).await else {
        panic!("nobody listens");
    };
    assert!(error.contains("cannot connect to 127.0.0.1:"), "{error}");
    assert!(error.contains("Connection refused"), "{error}");
    // The name has an address by now.
    let (backend, _task) = Backend::start().await;
    name.has([&backend.addr]);
    let deadline = Instant::now() + Duration::from_secs(60);
    while !matches!(send(&nobody).await, Outcome::Sent) {
        assert!(Instant::now() < deadline);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
