//! TLS in both directions, with certificates made here.

use std::path::PathBuf;

use prost::Message;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use spandrel_otlp::exporter::{ClientTls, ExporterConfig, ExporterError, GrpcExporter};
use spandrel_otlp::receiver::{BindError, Receiver, ReceiverConfig, ServerTls};
use spandrel_pipeline::exporter::{Exporter, Outcome};
use spandrel_wire::Signal;
use tempfile::TempDir;

use crate::collector::{Collector, Sink, config};
use crate::round_trip::{patient, spans};

/// An authority, and what it signed, as files.
struct Authority {
    folder: TempDir,
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let issuer = CertifiedIssuer::self_signed(params, key).expect("signed");
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("ca.pem"), issuer.pem()).expect("written");
        Self { folder, issuer }
    }

    fn ca_file(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    /// Certificate and key for this name.
    fn sign(&self, name: &str) -> (PathBuf, PathBuf) {
        let key = KeyPair::generate().expect("a key");
        let params = CertificateParams::new(vec![name.to_owned()]).expect("a name");
        let certificate = params.signed_by(&key, &self.issuer).expect("signed");
        let cert_file = self.folder.path().join(format!("{name}.pem"));
        let key_file = self.folder.path().join(format!("{name}.key"));
        std::fs::write(&cert_file, certificate.pem()).expect("written");
        std::fs::write(&key_file, key.serialize_pem()).expect("written");
        (cert_file, key_file)
    }

    fn server(&self, name: &str, client_ca_file: Option<PathBuf>) -> ReceiverConfig {
        let (cert_file, key_file) = self.sign(name);
        ReceiverConfig {
            tls: Some(ServerTls {
                cert_file,
                key_file,
                client_ca_file,
            }),
            ..config()
        }
    }
}

async fn send(endpoint: String, tls: ClientTls) -> Outcome {
    let config = ExporterConfig {
        tls,
        ..patient(&endpoint)
    };
    let exporter = GrpcExporter::new(&config).expect("a good config");
    let batch = spans(3).encode_to_vec();
    exporter.export(Signal::Traces, batch.into()).await
}

fn trusting(authority: &Authority) -> ClientTls {
    ClientTls {
        ca_file: Some(authority.ca_file()),
        ..ClientTls::default()
    }
}

fn retry_error(outcome: Outcome) -> String {
    match outcome {
        Outcome::Retry { error, .. } => error,
        other => panic!("{other:?}"),
    }
}

/// With TLS on, those who trust the authority get through, those who do not are told why, and plain
/// text gets nowhere.
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

/// The name in the certificate counts, and the config may name another or not look at all.
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
    assert!(matches!(gone, Err(ExporterError::File { .. })));

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
    let error = Receiver::bind(config).await.expect_err("no key");
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
