//! Clients that speak another protocol than the port, on real sockets and over real TLS. If the
//! client's protocol allows it, the answer tells what the port speaks. The log names one client a
//! minute.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use spandrel_tests::authority::Authority;
use spandrel_tests::backend::Backend;
use spandrel_tests::client::Client;
use spandrel_tests::collector::{Collector, Setup};
use spandrel_tests::config::Config;
use spandrel_tests::log::Line;
use spandrel_tests::shop::Shop;
use spandrel_tests::until::{soon, until};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName, pem::PemObject as _};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const WRONG_PROTOCOL: &str = "client speaks another protocol than this port";

async fn collector(backend: &Backend, authority: Option<&Authority>) -> Result<Collector> {
    let mut config = Config::new(backend.endpoint());
    if authority.is_some() {
        config = config.grpc("tls: { cert_file: cert.pem, key_file: key.pem }");
    }
    let setup = Setup::new(&config.yaml())?;
    if let Some(authority) = authority {
        authority.sign_into(setup.folder())?;
    }
    Collector::start(&setup).await
}

/// Sends these bytes and returns the answer until the connection ends in any way.
async fn ask<T: AsyncRead + AsyncWrite + Unpin>(mut stream: T, bytes: &[u8]) -> Result<String> {
    let mut answer = Vec::new();
    let talk = async {
        // A server that has sent its whole answer may close before it has read everything.
        let _sent = stream.write_all(bytes).await;
        let _ended = stream.read_to_end(&mut answer).await;
    };
    soon("an answer", talk).await?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

async fn ask_at(collector: &Collector, bytes: &[u8]) -> Result<String> {
    ask(TcpStream::connect(collector.address("otlp")?).await?, bytes).await
}

/// Returns an export as an OTLP/HTTP SDK sends it.
fn post(body: usize) -> Vec<u8> {
    let head = format!(
        "POST /v1/traces HTTP/1.1\r\nhost: collector:4317\r\ncontent-type: application/x-protobuf\r\n\
         content-length: {body}\r\n\r\n"
    );
    [head.as_bytes(), &vec![0; body]].concat()
}

fn lines(collector: &Collector, spoke: &str) -> Vec<Line> {
    let mut lines = collector.log().lines();
    lines.retain(|line| line.message() == WRONG_PROTOCOL && line.text("spoke") == Some(spoke));
    lines
}

async fn one_line(collector: &Collector, spoke: &str) -> Result<Line> {
    let look = || async { lines(collector, spoke).pop() };
    until("a line about the client", look).await
}

async fn counted(collector: &Collector, spoke: &str, clients: u64) -> Result<()> {
    let metrics = collector.metrics().await?;
    let name = "spandrel_receiver_wrong_protocol_total";
    let counted = metrics.sum(name, &[("receiver", "otlp"), ("spoke", spoke)]);
    ensure!(counted == clients, "{spoke}: {counted} of {clients}");
    Ok(())
}

/// OTLP/HTTP to an OTLP/gRPC port gets a complete HTTP/1.1 answer that says what to change, even if
/// the client is still sending. The log names the client once, and a metric counts all of them.
#[tokio::test]
async fn http1_is_told_to_use_grpc() -> Result<()> {
    let backend = Backend::start().await?;
    let collector = collector(&backend, None).await?;
    let requests = [
        post(100),
        post(3 << 20),
        b"GET / HTTP/1.0\r\n\r\n".to_vec(),
        b"PRI * HTTP/1.1\r\n\r\n".to_vec(),
    ];
    for request in &requests {
        let answer = ask_at(&collector, request).await?;
        ensure!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
        let (head, text) = answer.split_once("\r\n\r\n").context("no end of headers")?;
        ensure!(
            head.contains(&format!("content-length: {}\r\n", text.len())),
            "{head}"
        );
        ensure!(text.contains("this port speaks OTLP/gRPC"), "{text}");
        ensure!(
            text.contains("protocol to grpc") && text.contains("4318"),
            "{text}"
        );
    }
    let line = one_line(&collector, "HTTP/1.1").await?;
    let peer = line.text("peer").context("no peer")?;
    ensure!(peer.starts_with("127.0.0.1:"), "{peer}");
    ensure!(
        line.raw.contains("OTEL_EXPORTER_OTLP_PROTOCOL=grpc"),
        "{}",
        line.raw
    );
    ensure!(lines(&collector, "HTTP/1.1").len() == 1);
    counted(&collector, "HTTP/1.1", requests.len() as u64).await?;

    let mut client = Client::connect(&collector.address("otlp")?).await?;
    client.send(Shop::new(1).request(3)).await?;
    collector.stop().await?.expect_code(0)
}

/// A TLS client at a port without TLS: real TLS fails, and the log says why. The answer is not TLS,
/// for which TLS clients have a well-known error message.
#[tokio::test]
async fn tls_at_a_plain_port_is_named() -> Result<()> {
    let (backend, authority) = (Backend::start().await?, Authority::new()?);
    let collector = collector(&backend, None).await?;
    let address = collector.address("otlp")?;
    let error = Client::connect_trusting(&authority, &address).await;
    let error = format!("{:#}", error.err().context("connected")?);
    let line = one_line(&collector, "TLS").await?;
    ensure!(
        line.raw.contains("without TLS") && line.raw.contains("http://"),
        "{}",
        line.raw
    );
    counted(&collector, "TLS", 1).await?;
    let hello = [&[0x16, 3, 1, 0, 100, 1, 0, 0, 96, 3, 3][..], &[7; 94]].concat();
    let answer = ask_at(&collector, &hello).await?;
    ensure!(
        answer.contains("speaks OTLP/gRPC without TLS"),
        "{answer}; {error}"
    );
    collector.stop().await?.expect_code(0)
}

/// Clients without TLS at a TLS port, over HTTP/1.1 and over HTTP/2, are both told in their own
/// protocol, and the log tells them apart. A real gRPC client fails.
#[tokio::test]
async fn plain_text_at_a_tls_port_is_told() -> Result<()> {
    let (backend, authority) = (Backend::start().await?, Authority::new()?);
    let collector = collector(&backend, Some(&authority)).await?;
    let answer = ask_at(&collector, &post(100)).await?;
    ensure!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    let words = "client sent an HTTP request to an HTTPS server";
    ensure!(
        answer.contains(words) && answer.contains("https://"),
        "{answer}"
    );
    one_line(&collector, "HTTP/1.1 without TLS").await?;

    let answer = ask_at(&collector, PREFACE).await?;
    let (settings, goaway) = answer.split_at_checked(9).context("no SETTINGS")?;
    ensure!(
        settings.as_bytes() == [0, 0, 0, 4, 0, 0, 0, 0, 0],
        "{answer:?}"
    );
    ensure!(
        goaway.as_bytes()[3] == 7 && goaway.as_bytes()[16] == 12,
        "{answer:?}"
    );
    ensure!(
        goaway.contains("this port speaks OTLP/gRPC over TLS"),
        "{answer}"
    );
    if let Ok(mut client) = Client::connect(&collector.address("otlp")?).await {
        let refused = client.try_send(Shop::new(1).request(1)).await;
        ensure!(refused.is_err());
    }
    let line = one_line(&collector, "HTTP/2 without TLS").await?;
    ensure!(line.raw.contains("https://"), "{}", line.raw);

    let mut client = Client::connect_trusting(&authority, &collector.address("otlp")?).await?;
    client.send(Shop::new(1).request(3)).await?;
    collector.stop().await?.expect_code(0)
}

/// Clients with correct TLS may still fail. One that does not trust the certificate is named in the
/// log with the reason, and one that offers only HTTP/1.1 gets an answer in it.
#[tokio::test]
async fn tls_that_fails_is_named() -> Result<()> {
    let (backend, authority) = (Backend::start().await?, Authority::new()?);
    let collector = collector(&backend, Some(&authority)).await?;
    let address = collector.address("otlp")?;
    let stranger = Authority::new()?;
    ensure!(Client::connect_trusting(&stranger, &address).await.is_err());
    let line = collector.wait_for_message("TLS handshake failed").await?;
    ensure!(
        line.text("peer")
            .is_some_and(|peer| peer.starts_with("127.0.0.1:"))
    );
    ensure!(line.raw.to_lowercase().contains("alert"), "{}", line.raw);
    counted(&collector, "TLS that failed", 1).await?;

    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(authority.pem().as_bytes())?)?;
    let config = ClientConfig::builder_with_provider(Arc::new(
        tokio_rustls::rustls::crypto::ring::default_provider(),
    ));
    let config = config.with_safe_default_protocol_versions()?;
    let mut config = config.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    let stream = TcpStream::connect(&address).await?;
    let name = ServerName::try_from("localhost")?;
    let stream = TlsConnector::from(Arc::new(config)).connect(name, stream);
    let answer = ask(stream.await?, &post(100)).await?;
    ensure!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    ensure!(answer.contains("this port speaks OTLP/gRPC: "), "{answer}");
    collector.stop().await?.expect_code(0)
}

/// Probes that connect and send nothing are not reported. Bytes of an unknown protocol are reported
/// and not answered.
#[tokio::test]
async fn probes_are_quiet() -> Result<()> {
    let (backend, authority) = (Backend::start().await?, Authority::new()?);
    for authority in [None, Some(&authority)] {
        let collector = collector(&backend, authority).await?;
        for _ in 0..5 {
            drop(TcpStream::connect(collector.address("otlp")?).await?);
        }
        ensure!(ask_at(&collector, b"\0\x01\x02\x03 and so on, to the end of 24").await? == "");
        one_line(&collector, "unknown").await?;
        counted(&collector, "unknown", 1).await?;
        counted(&collector, "TLS that failed", 0).await?;
        let ended = collector.stop().await?;
        ended.expect_code(0)?;
        ensure!(ended.log.count_of(WRONG_PROTOCOL) == 1);
        ensure!(ended.log.count_of("TLS handshake failed") == 0);
    }
    Ok(())
}

/// HTTP/1.1 clients that neither read nor leave, or that send for ever, hold nothing for long: each
/// is disconnected, and there is one log line for all.
#[tokio::test]
async fn strangers_hold_nothing() -> Result<()> {
    let backend = Backend::start().await?;
    let collector = collector(&backend, None).await?;
    let address = collector.address("otlp")?;
    Client::connect(&address)
        .await?
        .send(Shop::new(1).request(3))
        .await?;
    let before = collector.memory_kib()?;
    let started = Instant::now();
    let mut strangers = JoinSet::new();
    for number in 0..200 {
        let address = address.clone();
        strangers.spawn(async move {
            let mut stream = TcpStream::connect(address).await?;
            stream.write_all(&post(0)).await?;
            if number % 2 == 0 {
                // The other end also stops reading once its time is over.
                while stream.write_all(&[0; 16 << 10]).await.is_ok() {}
            } else {
                let mut rest = Vec::new();
                let _ended = stream.read_to_end(&mut rest).await;
                while stream.write_all(b"x").await.is_ok() {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
            anyhow::Ok(())
        });
    }
    let all = async {
        while let Some(ended) = strangers.join_next().await {
            ended??;
        }
        anyhow::Ok(())
    };
    soon("the end of all strangers", all).await??;
    ensure!(
        started.elapsed() < Duration::from_secs(30),
        "{:?}",
        started.elapsed()
    );
    let grown = collector.memory_kib()?.saturating_sub(before);
    ensure!(grown < 64 << 10, "{grown} KiB");
    counted(&collector, "HTTP/1.1", 200).await?;
    ensure!(lines(&collector, "HTTP/1.1").len() == 1);
    collector.stop().await?.expect_code(0)
}
