//! OTLP/HTTP over TLS.

use std::path::Path;
use std::sync::Arc;

use spandrel_otlp::receiver::HttpConfig;
use spandrel_wire::Signal;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use super::wire::{PROTOBUF, post};
use super::{http, start};
use crate::authority::Authority;
use crate::collector::{Collector, Sink};

/// Connects and offers these protocols, with this certificate and key if there are any.
async fn connect(
    collector: &Collector,
    authority: &Authority,
    offers: &[&str],
    certificate: Option<[&Path; 2]>,
) -> std::io::Result<TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    let root = CertificateDer::from_pem_file(authority.ca_file()).expect("a certificate");
    roots.add(root).expect("an authority");
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots);
    let mut config = match certificate {
        None => builder.with_no_client_auth(),
        Some([file, key]) => {
            let chain = vec![CertificateDer::from_pem_file(file).expect("a certificate")];
            let key = PrivateKeyDer::from_pem_file(key).expect("a key");
            builder.with_client_auth_cert(chain, key).expect("a pair")
        }
    };
    config.alpn_protocols = offers
        .iter()
        .map(|offer| offer.as_bytes().to_vec())
        .collect();
    let stream = TcpStream::connect(collector.addr)
        .await
        .expect("a listener");
    let name = ServerName::try_from("localhost").expect("a name");
    TlsConnector::from(Arc::new(config))
        .connect(name, stream)
        .await
}

async fn answer(mut stream: TlsStream<TcpStream>) -> String {
    let request = post(
        "/v1/traces",
        &[("content-type", PROTOBUF), ("connection", "close")],
        b"x",
    );
    let mut answer = Vec::new();
    // A client whose certificate is missing learns that when it reads.
    if stream.write_all(&request).await.is_ok() {
        drop(stream.read_to_end(&mut answer).await);
    }
    String::from_utf8_lossy(&answer).into_owned()
}

/// Over TLS both versions are offered: HTTP/2 to who takes it, and HTTP/1.1 to who does not, or who
/// offers nothing.
#[tokio::test]
async fn tls_has_both_versions() {
    let (sink, authority) = (Sink::open(), Authority::new());
    let tls = authority.server("localhost", None).tls;
    let collector = start(HttpConfig { tls, ..http() }, &sink).await;
    for (offers, taken) in [
        (&["h2", "http/1.1"][..], Some("h2")),
        (&["http/1.1"], Some("http/1.1")),
        (&[], None),
    ] {
        let stream = connect(&collector, &authority, offers, None).await;
        let stream = stream.expect("a handshake");
        let found = stream.get_ref().1.alpn_protocol().map(<[u8]>::to_vec);
        assert_eq!(found.as_deref(), taken.map(str::as_bytes));
        if taken != Some("h2") {
            let answer = answer(stream).await;
            assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
        }
    }
    let signals: Vec<_> = sink.taken().into_iter().map(|(signal, _)| signal).collect();
    assert_eq!(signals, [Signal::Traces; 2]);
}

/// With a `client_ca_file`, only clients with a certificate of that authority get through.
#[tokio::test]
async fn clients_must_show_a_certificate() {
    let (sink, authority) = (Sink::open(), Authority::new());
    let tls = authority.server("localhost", Some(authority.ca_file())).tls;
    let collector = start(HttpConfig { tls, ..http() }, &sink).await;
    let stranger = connect(&collector, &authority, &["http/1.1"], None).await;
    if let Ok(stranger) = stranger {
        assert_eq!(answer(stranger).await, "");
    }
    let (file, key) = authority.sign("client");
    let client = connect(&collector, &authority, &["http/1.1"], Some([&file, &key])).await;
    let answer = answer(client.expect("a handshake")).await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert_eq!(sink.taken().len(), 1);
}
