//! TLS in both directions, with certificates made here.

use std::path::PathBuf;

use rustls::server::Acceptor;
use spandrel_otlp::exporter::{ClientTls, ExporterConfig, ExporterError, GrpcExporter};
use spandrel_otlp::receiver::{BindError, Receiver};
use spandrel_otlp::tls::{TlsVersion, TlsVersions};
use spandrel_pipeline::exporter::Outcome;
use tokio::net::TcpListener;
use tokio_rustls::LazyConfigAcceptor;

use crate::authority::{Authority, attempt, trusting};
use crate::collector::{Collector, Sink};
use crate::round_trip::patient;

async fn send(endpoint: String, tls: ClientTls) -> Outcome {
    let config = ExporterConfig {
        tls,
        ..patient(&endpoint)
    };
    attempt(&GrpcExporter::new(&config).expect("a good config")).await
}

fn retry_error(outcome: Outcome) -> String {
    match outcome {
        Outcome::Retry { error, .. } => error,
        other => panic!("{other:?}"),
    }
}

/// With TLS on, clients that trust the authority get through, clients that do not are told why, and
/// plain text gets nowhere.
#[tokio::test]
async fn tls_protects_the_way() {
    let authority = Authority::new();
    let sink = Sink::open();
    let collector = Collector::start_with(authority.server("localhost", None), &sink).await;
    let port = collector.addr.port();

    let outcome = send(format!("https://localhost:{port}"), trusting(&authority)).await;
    assert!(matches!(outcome, Outcome::Sent), "{outcome:?}");
    let outcome = send(format!("localhost:{port}"), trusting(&authority)).await;
    assert!(matches!(outcome, Outcome::Sent), "{outcome:?}");
    assert_eq!(sink.taken().len(), 2);

    let stranger = Authority::new();
    let outcome = send(format!("https://localhost:{port}"), trusting(&stranger)).await;
    let error = retry_error(outcome);
    assert!(error.contains("certificate"), "{error}");
    let outcome = send(format!("http://localhost:{port}"), ClientTls::default()).await;
    retry_error(outcome);
    assert_eq!(sink.taken().len(), 2);
}

/// The name in the certificate counts. The config may name another one, or not verify at all.
#[tokio::test]
async fn the_name_counts() {
    let authority = Authority::new();
    let sink = Sink::open();
    let collector = Collector::start_with(authority.server("backend.example", None), &sink).await;
    let url = format!("https://localhost:{}", collector.addr.port());

    let error = retry_error(send(url.clone(), trusting(&authority)).await);
    assert!(error.contains("certificate"), "{error}");
    let renamed = ClientTls {
        server_name_override: Some("backend.example".to_owned()),
        ..trusting(&authority)
    };
    let outcome = send(url.clone(), renamed).await;
    assert!(matches!(outcome, Outcome::Sent), "{outcome:?}");
    let blind = ClientTls {
        insecure_skip_verify: true,
        ..ClientTls::default()
    };
    let outcome = send(url, blind).await;
    assert!(matches!(outcome, Outcome::Sent), "{outcome:?}");
}

/// With a `client_ca_file`, only clients with a certificate of that authority get through.
#[tokio::test]
async fn clients_must_show_a_certificate() {
    let authority = Authority::new();
    let sink = Sink::open();
    let server = authority.server("localhost", Some(authority.ca_file()));
    let collector = Collector::start_with(server, &sink).await;
    let url = format!("https://localhost:{}", collector.addr.port());

    retry_error(send(url.clone(), trusting(&authority)).await);
    let (cert, key) = Authority::new().sign("stranger");
    let stranger = ClientTls {
        cert_file: Some(cert),
        key_file: Some(key),
        ..trusting(&authority)
    };
    // The stranger's folder is gone with its authority.
    let config = ExporterConfig {
        tls: stranger,
        ..patient(&url)
    };
    let gone = GrpcExporter::new(&config);
    assert!(matches!(gone, Err(ExporterError::File(_))));

    let other = Authority::new();
    for (signer, welcome) in [(&other, false), (&authority, true)] {
        let (cert, key) = signer.sign("client");
        let tls = ClientTls {
            cert_file: Some(cert),
            key_file: Some(key),
            ..trusting(&authority)
        };
        let outcome = send(url.clone(), tls).await;
        assert_eq!(matches!(outcome, Outcome::Sent), welcome, "{outcome:?}");
    }
    assert_eq!(sink.taken().len(), 1);
}

/// Files that cannot be used are named before anything listens.
#[tokio::test]
async fn bad_files_are_named() {
    let authority = Authority::new();
    let mut config = authority.server("localhost", None);
    let tls = config.tls.as_mut().expect("set");
    tls.key_file = PathBuf::from("no-such.key");
    let error = Receiver::bind(config.into()).await.expect_err("no key");
    let BindError::Tls { source, .. } = error else {
        panic!("{error:?}");
    };
    assert!(source.to_string().contains("no-such.key"), "{source}");

    let half = ExporterConfig {
        tls: ClientTls {
            cert_file: Some(authority.ca_file()),
            ..ClientTls::default()
        },
        ..ExporterConfig::new("https://backend:4317")
    };
    let error = GrpcExporter::new(&half).expect_err("half");
    assert!(error.to_string().contains("key_file"), "{error}");
}

/// The lowest and the highest version hold, on both ends: a client that has none in common with the
/// server does not get through, and is told so.
#[tokio::test]
async fn versions_are_kept_to() {
    use TlsVersion::{V1_2, V1_3};
    let authority = Authority::new();
    let versions = |min, max| TlsVersions { min, max };
    for (server, client, welcome) in [
        (versions(V1_3, V1_3), versions(V1_2, V1_2), false),
        (versions(V1_2, V1_2), versions(V1_3, V1_3), false),
        (versions(V1_3, V1_3), versions(V1_2, V1_3), true),
        (versions(V1_2, V1_2), versions(V1_2, V1_3), true),
        (versions(V1_2, V1_3), versions(V1_2, V1_2), true),
    ] {
        let mut config = authority.server("localhost", None);
        config.tls.as_mut().expect("set").versions = server;
        let sink = Sink::open();
        let collector = Collector::start_with(config, &sink).await;
        let tls = ClientTls {
            versions: client,
            ..trusting(&authority)
        };
        let url = format!("https://localhost:{}", collector.addr.port());
        let outcome = send(url, tls).await;
        let got_through = matches!(outcome, Outcome::Sent);
        assert_eq!(got_through, welcome, "{server:?} {client:?} {outcome:?}");
        if !welcome {
            let error = retry_error(outcome);
            assert!(error.contains("ersion"), "{error}");
        }
    }
}

/// The client asks for the right name. With TLS the name is in the client's first message; a front
/// end has nothing else to route by, because there is no certificate to check yet.
#[tokio::test]
async fn the_name_is_asked_for() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("bound").port();
    for (authority, name, asked) in [
        (None, None, "localhost"),
        (None, Some("a.example"), "a.example"),
        (Some("b.example:99"), None, "b.example"),
        (Some("b.example:99"), Some("a.example"), "a.example"),
    ] {
        let config = ExporterConfig {
            authority: authority.map(str::to_owned),
            tls: ClientTls {
                server_name_override: name.map(str::to_owned),
                insecure_skip_verify: true,
                ..ClientTls::default()
            },
            ..patient(&format!("https://localhost:{port}"))
        };
        let exporter = GrpcExporter::new(&config).expect("a good config");
        let listen = async {
            let (stream, _) = listener.accept().await.expect("a client");
            let hello = LazyConfigAcceptor::new(Acceptor::default(), stream).await;
            let hello = hello.expect("a hello");
            hello.client_hello().server_name().map(str::to_owned)
        };
        let (found, outcome) = tokio::join!(listen, attempt(&exporter));
        assert_eq!(found.as_deref(), Some(asked));
        retry_error(outcome);
    }
}

/// Requests name the host that they want to reach: the endpoint's, or the one in the config. A text
/// that is not a host is refused, and so is one that would show a password.
#[tokio::test]
async fn requests_name_the_authority() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let addr = listener.local_addr().expect("bound");
    let here = addr.to_string();
    for (authority, asked) in [
        (None, here.as_str()),
        (Some("a.example:99"), "a.example:99"),
    ] {
        let config = ExporterConfig {
            authority: authority.map(str::to_owned),
            ..patient(&format!("http://{addr}"))
        };
        let exporter = GrpcExporter::new(&config).expect("a good config");
        let listen = async {
            let (stream, _) = listener.accept().await.expect("a client");
            let mut requests = h2::server::handshake(stream).await.expect("HTTP/2");
            let (request, _) = requests.accept().await.expect("one").expect("whole");
            request.uri().authority().map(ToString::to_string)
        };
        let (found, _) = tokio::join!(listen, attempt(&exporter));
        assert_eq!(found.as_deref(), Some(asked));
    }
    for authority in ["", "a b", "user:secret@a.example", "a/b"] {
        let config = ExporterConfig {
            authority: Some(authority.to_owned()),
            ..patient(&format!("http://{addr}"))
        };
        let error = GrpcExporter::new(&config).expect_err(authority);
        assert!(matches!(error, ExporterError::Authority { .. }), "{error}");
    }
}
