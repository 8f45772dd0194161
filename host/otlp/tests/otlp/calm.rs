//! A backend that finds the keepalive pings too many.

use std::time::Duration;

use prost::Message;
use spandrel_otlp::exporter::{ClientKeepalive, ExporterConfig, GrpcExporter};
use spandrel_pipeline::exporter::{Exporter, Outcome};
use spandrel_wire::Signal;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::round_trip::spans;

const HEADERS: u8 = 1;
const PING: u8 = 6;
const SETTINGS: [u8; 9] = [0, 0, 0, 4, 0, 0, 0, 0, 0];
/// A GOAWAY with ENHANCE_YOUR_CALM, which says that no request was looked at.
const CALM: &[u8] = b"\0\0\x16\x07\0\0\0\0\0\0\0\0\0\0\0\0\x0btoo_many_pings";

/// Reads frames up to one of this type.
async fn until(stream: &mut TcpStream, wanted: u8) {
    loop {
        let mut head = [0; 9];
        stream.read_exact(&mut head).await.expect("a frame");
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut payload = vec![0; length as usize];
        stream.read_exact(&mut payload).await.expect("its payload");
        if head[3] == wanted {
            return;
        }
    }
}

async fn accept(listener: &TcpListener) -> TcpStream {
    let (mut stream, _) = listener.accept().await.expect("a connection");
    let mut preface = [0; 24];
    stream.read_exact(&mut preface).await.expect("the preface");
    stream.write_all(&SETTINGS).await.expect("written");
    stream
}

/// An exporter that is told to calm down sends its pings half as often on the next connection.
#[tokio::test]
async fn pings_that_are_too_many_become_fewer() {
    const TIME: Duration = Duration::from_millis(500);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let config = ExporterConfig {
        timeout: Duration::from_secs(60),
        keepalive: Some(ClientKeepalive {
            time: TIME,
            ..ClientKeepalive::default()
        }),
        ..ExporterConfig::new(format!("http://{}", listener.local_addr().unwrap()))
    };
    let exporter = GrpcExporter::new(&config).unwrap();
    let mut task = JoinSet::new();
    task.spawn(async move {
        let batch = spans(3).encode_to_vec();
        let told = exporter.export(Signal::Traces, batch.clone().into()).await;
        assert!(matches!(told, Outcome::Retry { .. }), "{told:?}");
        exporter.export(Signal::Traces, batch.into()).await
    });
    let mut first = accept(&listener).await;
    until(&mut first, HEADERS).await;
    first.write_all(CALM).await.unwrap();
    let mut stream = accept(&listener).await;
    // A ping that comes so long after the last bytes were sent was due at twice the time.
    let said = Instant::now();
    until(&mut stream, PING).await;
    let waited = said.elapsed();
    assert!(waited >= TIME * 2 - TIME / 10, "{waited:?}");
    task.shutdown().await;
}
