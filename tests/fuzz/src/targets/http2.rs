//! Any bytes on a connection to the receiver: the receiver answers or ends the connection, and
//! never waits for a client that is gone.

mod frames;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use spandrel_otlp::receiver::{Receiver, ReceiverConfig};
use spandrel_pipeline::ingress::{Accepted, Ingress};
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

struct Server {
    runtime: Runtime,
    address: SocketAddr,
    /// The receiver, which ends with the thread.
    _serving: JoinSet<()>,
}

thread_local! {
    static SERVER: Server = start();
}

fn start() -> Server {
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    let mut serving = JoinSet::new();
    let address = runtime.block_on(async {
        let config = ReceiverConfig {
            max_recv_msg_size: 1 << 20,
            max_in_flight_bytes: 4 << 20,
            ..ReceiverConfig::new("127.0.0.1:0")
        };
        let receiver = Receiver::bind(config).await.unwrap();
        let address = receiver.local_addr();
        serving.spawn(async move {
            let closed = receiver.serve(Arc::new(Sink), std::future::pending()).await;
            panic!("nobody told it to stop: {closed:?}");
        });
        address
    });
    Server {
        runtime,
        address,
        _serving: serving,
    }
}

/// Runs one input. Its first byte decides whether the rest are raw bytes, raw frames, or choices
/// for frames of calls.
pub(crate) fn run(input: &[u8]) {
    let Some((first, rest)) = input.split_first() else {
        return;
    };
    let bytes = match first % 4 {
        0 => rest.to_vec(),
        1 => [frames::PREFACE, rest].concat(),
        _ => frames::of(rest),
    };
    SERVER.with(|server| server.runtime.block_on(connection(server.address, &bytes)));
}

async fn connection(address: SocketAddr, bytes: &[u8]) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let (mut from, mut to) = stream.split();
    let mut answer = Vec::new();
    let write = async {
        // An error is ignored: the connection may be closed while the client sends.
        drop(to.write_all(bytes).await);
        drop(to.shutdown().await);
    };
    let read = from.read_to_end(&mut answer);
    let ended = timeout(PATIENCE, async { tokio::join!(write, read) }).await;
    assert!(ended.is_ok(), "the connection did not end");
}

/// An ingress that accepts valid requests.
#[derive(Debug)]
struct Sink;

impl Ingress for Sink {
    fn offer(&self, signal: Signal, request: Bytes) -> BoxFuture<'_, Result<Accepted, Refused>> {
        let cleaned =
            remove_invalid_items(signal, &request, &Limits::default(), InvalidUtf8::Replace);
        let answer = cleaned.map(|cleaned| Accepted {
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
