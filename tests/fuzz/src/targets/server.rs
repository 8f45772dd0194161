//! A receiver that takes whatever bytes come to its port.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use spandrel_otlp::receiver::{Receiver, ReceiverConfig};
use spandrel_pipeline::ingress::{Acceptance, Ingress};
use spandrel_pipeline::refused::Refused;
use spandrel_wire::{InvalidUtf8, Limits, Signal, remove_invalid_items};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinSet;
use tokio::time::timeout;

/// The longest time from a client's end to that of its connection. It is far above what a busy
/// machine needs.
const PATIENCE: Duration = Duration::from_secs(10);

/// A receiver with one port, in a runtime of its own.
pub(super) struct Server {
    runtime: Runtime,
    address: SocketAddr,
    /// The receiver, which ends with the thread.
    _serving: JoinSet<()>,
}

impl Server {
    pub(super) fn start(config: impl Into<ReceiverConfig>) -> Self {
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        let mut serving = JoinSet::new();
        let config = config.into();
        let address = runtime.block_on(async {
            let receiver = Receiver::bind(config).await.unwrap();
            let address = receiver.ports()[0].address;
            serving.spawn(async move {
                let closed = receiver
                    .serve(|_| Arc::new(Sink), std::future::pending())
                    .await;
                panic!("nobody told it to stop: {closed:?}");
            });
            address
        });
        Self {
            runtime,
            address,
            _serving: serving,
        }
    }

    /// Sends bytes on a connection and is gone, and returns what comes until that ends.
    pub(super) fn answer(&self, bytes: &[u8]) -> Vec<u8> {
        self.runtime.block_on(connection(self.address, bytes, true))
    }

    /// Sends bytes on a connection that ends with their last answer, and returns the answers.
    pub(super) fn all_answers(&self, bytes: &[u8]) -> Vec<u8> {
        self.runtime
            .block_on(connection(self.address, bytes, false))
    }
}

async fn connection(address: SocketAddr, bytes: &[u8], is_gone: bool) -> Vec<u8> {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let (mut from, mut to) = stream.split();
    let mut answer = Vec::new();
    let write = async {
        // An error is ignored: the connection may be closed while the client sends.
        drop(to.write_all(bytes).await);
        if is_gone {
            drop(to.shutdown().await);
        }
    };
    let read = from.read_to_end(&mut answer);
    let ended = timeout(PATIENCE, async { tokio::join!(write, read) }).await;
    assert!(ended.is_ok(), "the connection did not end");
    answer
}

/// An ingress that accepts valid requests.
#[derive(Debug)]
struct Sink;

impl Ingress for Sink {
    fn offer(&self, signal: Signal, request: Bytes) -> BoxFuture<'_, Result<Acceptance, Refused>> {
        let cleaned =
            remove_invalid_items(signal, &request, &Limits::default(), InvalidUtf8::Replace);
        let answer = cleaned.map(|cleaned| Acceptance {
            refused: cleaned.refused,
            replaced: cleaned.replaced,
        });
        let answer = answer.map_err(Refused::Invalid);
        Box::pin(std::future::ready(answer))
    }

    fn carries(&self, signal: Signal) -> bool {
        signal != Signal::Logs
    }
}
