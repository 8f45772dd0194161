//! A backend to export to: a real OTLP/gRPC server that counts every span it accepted, and that can
//! be slow, fail, hang, accept only a part, or be away.

mod service;
mod taken;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use opentelemetry_proto::tonic::collector::logs::v1::logs_service_server::LogsServiceServer;
use opentelemetry_proto::tonic::collector::metrics::v1::metrics_service_server::MetricsServiceServer;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::TraceServiceServer;
use tokio::net::{TcpListener, TcpSocket};
use tokio::runtime::{Builder, Runtime};
use tokio::task::spawn_blocking;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::Code;
use tonic::codec::CompressionEncoding;
use tonic::transport::Server;

use crate::until::PATIENCE;
use service::Service;
pub use taken::{Taken, Totals};

/// The number of connections that may wait to be accepted when it comes back.
const BACKLOG: u32 = 1024;

/// A way of answering calls.
#[derive(Clone, Debug)]
pub enum Behaviour {
    /// Accepts everything at once.
    Fine,
    /// Accepts everything, after a while.
    Slow(Duration),
    /// Answers this share of the calls, in percent, with an error and accepts nothing of them.
    Failing {
        /// The error.
        code: Code,
        /// The number of failing calls in a hundred.
        percent: u32,
    },
    /// Answers every call with UNAVAILABLE and asks for patience (RetryInfo).
    Busy(Duration),
    /// Accepts all but the first `rejected` spans of each call, and reports this
    /// (`partial_success`).
    Partial {
        /// The number of spans of each call that it rejects.
        rejected: u64,
    },
    /// Never answers.
    Hanging,
}

/// A running backend. It stops when it is dropped.
///
/// It has threads of its own: when it goes away, its connections go with it, like those of a
/// process that ends.
#[derive(Debug)]
pub struct Backend {
    address: SocketAddr,
    service: Arc<Service>,
    /// The longest request that it accepts, in bytes.
    longest: usize,
    threads: Option<Runtime>,
    /// A bound socket that never listens: the port stays its own while it is away, and connections
    /// are refused then.
    _port: TcpSocket,
}

/// Returns a socket that is bound to an address; others of this process may be, too.
fn bound(address: SocketAddr) -> Result<TcpSocket> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.set_reuseport(true)?;
    let failed = || format!("cannot have the port of {address}");
    socket.bind(address).with_context(failed)?;
    Ok(socket)
}

impl Backend {
    /// Starts a backend on a free port of the loopback interface.
    ///
    /// # Errors
    /// Returns an error if there is no port.
    pub async fn start() -> Result<Self> {
        Self::start_with(usize::MAX).await
    }

    /// Starts a backend that accepts requests of at most `longest` bytes. gRPC's default is 4 MiB.
    ///
    /// # Errors
    /// Returns an error if there is no port.
    pub async fn start_with(longest: usize) -> Result<Self> {
        let port = bound(SocketAddr::from(([127, 0, 0, 1], 0)))?;
        let mut backend = Self {
            address: port.local_addr()?,
            service: Arc::new(Service::default()),
            longest,
            threads: None,
            _port: port,
        };
        backend.come_back()?;
        Ok(backend)
    }

    /// Returns the value of an exporter's `endpoint` that reaches it.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Sets how it answers from now on. Calls that wait are answered the new way too.
    pub fn answer(&self, behaviour: Behaviour) {
        self.service.answer(behaviour);
    }

    /// Keeps whole requests from now on, for inspection; otherwise it only counts.
    pub fn keep(&self) {
        self.service.taken().keep = true;
    }

    /// Returns everything that it accepted so far.
    pub fn taken(&self) -> impl std::ops::DerefMut<Target = Taken> + '_ {
        self.service.taken()
    }

    /// Returns the numbers of spans, metrics requests and logs requests that it accepted so far.
    pub fn totals(&self) -> Totals {
        self.service.taken().totals
    }

    /// Waits until the accepted data satisfies `enough`, which is checked after each answered call.
    ///
    /// # Errors
    /// Returns an error if that does not happen in time.
    pub async fn wait(&self, what: &str, enough: impl Fn(&Taken) -> bool) -> Result<()> {
        let mut changes = self.service.changes();
        let seen = crate::until::soon(what, async {
            while !enough(&self.service.taken()) {
                changes.changed().await?;
            }
            anyhow::Ok(())
        });
        seen.await
            .and_then(|result| result)
            .with_context(|| format!("the backend has {:?}", self.totals()))
    }

    /// Goes away: connections are closed, new ones are refused, and running calls are aborted.
    /// Nobody else gets its port.
    ///
    /// # Errors
    /// Returns an error if its threads cannot be ended.
    pub async fn go_away(&mut self) -> Result<()> {
        if let Some(threads) = self.threads.take() {
            spawn_blocking(move || threads.shutdown_timeout(PATIENCE)).await?;
        }
        Ok(())
    }

    /// Comes back on the same port.
    ///
    /// # Errors
    /// Returns an error if it was not away.
    pub fn come_back(&mut self) -> Result<()> {
        ensure!(self.threads.is_none(), "it was not away");
        let listener = bound(self.address)?.listen(BACKLOG)?;
        self.serve(listener.into_std()?)
    }

    fn serve(&mut self, listener: std::net::TcpListener) -> Result<()> {
        macro_rules! service {
            ($server:ident) => {
                $server::from_arc(self.service.clone())
                    .accept_compressed(CompressionEncoding::Gzip)
                    .accept_compressed(CompressionEncoding::Zstd)
                    .max_decoding_message_size(self.longest)
            };
        }
        let server = Server::builder()
            .add_service(service!(TraceServiceServer))
            .add_service(service!(MetricsServiceServer))
            .add_service(service!(LogsServiceServer));
        let threads = Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("backend")
            .enable_all()
            .build()?;
        let incoming = {
            let _inside = threads.enter();
            TcpListenerStream::new(TcpListener::from_std(listener)?)
        };
        let running = server.serve_with_incoming(incoming);
        #[expect(
            clippy::let_underscore_future,
            reason = "the task lives as long as its runtime, which is kept; \
                      a server that fails is seen by whoever calls it"
        )]
        let _ = threads.spawn(running);
        self.threads = Some(threads);
        Ok(())
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        if let Some(threads) = self.threads.take() {
            threads.shutdown_background();
        }
    }
}
