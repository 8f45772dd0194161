//! Certificates that change while connections are open.

use std::time::Duration;

use spandrel_otlp::exporter::{ClientTls, ExporterConfig, GrpcExporter};
use spandrel_otlp::receiver::GrpcConfig;
use spandrel_pipeline::exporter::Outcome;
use tokio::time::timeout;

use crate::authority::{Authority, attempt, copy, replace, trusting};
use crate::collector::{Collector, Sink};
use crate::round_trip::patient;

/// A reload interval so short that a test need not wait; tests repeat what they do until the change
/// shows.
const OFTEN: Duration = Duration::from_millis(5);

/// A change that does not show in this time does not show at all.
const LONG: Duration = Duration::from_secs(60);

fn exporter(port: u16, tls: ClientTls) -> GrpcExporter {
    let config = ExporterConfig {
        tls,
        ..patient(&format!("https://localhost:{port}"))
    };
    GrpcExporter::new(&config).expect("a good config")
}

fn watched(mut config: GrpcConfig) -> GrpcConfig {
    config.tls.as_mut().expect("set").reload_interval = OFTEN;
    config
}

/// Makes attempts on new connections until the outcome is as wanted.
async fn until(port: u16, tls: &ClientTls, wanted: bool) {
    let shows = async {
        loop {
            let outcome = attempt(&exporter(port, tls.clone())).await;
            if matches!(outcome, Outcome::Sent) == wanted {
                return;
            }
        }
    };
    timeout(LONG, shows).await.expect("it shows");
}

/// New connections get the certificate that replaced the old one, and the open connection goes on
/// without a failed request.
#[tokio::test]
async fn a_new_certificate_is_used() {
    let (old, new) = (Authority::new(), Authority::new());
    let config = watched(old.server("localhost", None));
    let files = config.tls.clone().expect("set");
    let sink = Sink::open();
    let collector = Collector::start_with(config, &sink).await;
    let port = collector.addr.port();
    let lasting = exporter(port, trusting(&old));
    assert!(matches!(attempt(&lasting).await, Outcome::Sent));

    let (cert, key) = new.sign("localhost");
    copy(&key, &files.key_file);
    copy(&cert, &files.cert_file);
    let traffic = async {
        loop {
            let outcome = attempt(&lasting).await;
            assert!(matches!(outcome, Outcome::Sent), "{outcome:?}");
        }
    };
    let trusting_new = trusting(&new);
    tokio::select! {
        () = traffic => {}
        () = until(port, &trusting_new, true) => {}
    }
    assert!(matches!(attempt(&lasting).await, Outcome::Sent));
    let outcome = attempt(&exporter(port, trusting(&old))).await;
    assert!(matches!(outcome, Outcome::Retry { .. }), "{outcome:?}");
}

/// Files that cannot be used change nothing, for however many looks; good files that replace them
/// are used.
#[tokio::test]
async fn a_broken_certificate_changes_nothing() {
    let (old, new) = (Authority::new(), Authority::new());
    let config = watched(old.server("localhost", None));
    let files = config.tls.clone().expect("set");
    let sink = Sink::open();
    let collector = Collector::start_with(config, &sink).await;
    let port = collector.addr.port();
    let (cert, key) = new.sign("localhost");
    // A certificate without its key, half a file, nothing at all.
    let half = std::fs::read(&cert).expect("readable");
    copy(&cert, &files.cert_file);
    for _ in 0..20 {
        let outcome = attempt(&exporter(port, trusting(&old))).await;
        assert!(matches!(outcome, Outcome::Sent), "{outcome:?}");
    }
    for broken in [&half[..half.len() / 2], b""] {
        replace(&files.cert_file, broken);
        for _ in 0..20 {
            let outcome = attempt(&exporter(port, trusting(&old))).await;
            assert!(matches!(outcome, Outcome::Sent), "{outcome:?}");
        }
    }
    copy(&key, &files.key_file);
    copy(&cert, &files.cert_file);
    until(port, &trusting(&new), true).await;
}

/// Once clients of another authority are let in, those of the old one are not, not even by resuming
/// an old session. The open connection goes on.
#[tokio::test]
async fn other_clients_are_let_in() {
    let (server, old, new) = (Authority::new(), Authority::new(), Authority::new());
    let clients = server.ca_file().with_file_name("clients.pem");
    copy(&old.ca_file(), &clients);
    let config = watched(server.server("localhost", Some(clients.clone())));
    let sink = Sink::open();
    let collector = Collector::start_with(config, &sink).await;
    let port = collector.addr.port();
    let with_certificate_of = |authority: &Authority| {
        let (cert, key) = authority.sign("client");
        ClientTls {
            cert_file: Some(cert),
            key_file: Some(key),
            ..trusting(&server)
        }
    };
    let (of_old, of_new) = (with_certificate_of(&old), with_certificate_of(&new));
    let lasting = exporter(port, of_old.clone());
    assert!(matches!(attempt(&lasting).await, Outcome::Sent));
    let outcome = attempt(&exporter(port, of_new.clone())).await;
    assert!(matches!(outcome, Outcome::Retry { .. }), "{outcome:?}");

    copy(&new.ca_file(), &clients);
    until(port, &of_new, true).await;
    let outcome = attempt(&exporter(port, of_old)).await;
    assert!(matches!(outcome, Outcome::Retry { .. }), "{outcome:?}");
    assert!(matches!(attempt(&lasting).await, Outcome::Sent));
}

/// An existing exporter trusts another authority, and shows another certificate, from its next
/// connection on.
#[tokio::test]
async fn an_exporter_uses_its_new_files() {
    let (old, new) = (Authority::new(), Authority::new());
    let folder = tempfile::tempdir().expect("a folder");
    let [ca, cert, key] = ["ca.pem", "me.pem", "me.key"].map(|name| folder.path().join(name));
    let take = |authority: &Authority| {
        let (signed, its_key) = authority.sign("client");
        copy(&its_key, &key);
        copy(&signed, &cert);
        copy(&authority.ca_file(), &ca);
    };
    take(&old);
    let sink = Sink::open();
    let backend = |of: &Authority| of.server("localhost", Some(of.ca_file()));
    let first = Collector::start_with(backend(&old), &sink).await;
    let addr = first.addr;
    let tls = ClientTls {
        ca_file: Some(ca.clone()),
        cert_file: Some(cert.clone()),
        key_file: Some(key.clone()),
        reload_interval: OFTEN,
        ..ClientTls::default()
    };
    let exporter = exporter(addr.port(), tls);
    assert!(matches!(attempt(&exporter).await, Outcome::Sent));
    first.stop();
    assert_eq!(first.closed().await.connections_cut, 0);
    let config = GrpcConfig {
        endpoint: addr.to_string(),
        ..backend(&new)
    };
    let _second = Collector::start_with(config, &sink).await;
    let outcome = attempt(&exporter).await;
    assert!(matches!(outcome, Outcome::Retry { .. }), "{outcome:?}");
    take(&new);
    let sent = async { while !matches!(attempt(&exporter).await, Outcome::Sent) {} };
    timeout(LONG, sent).await.expect("the new files are used");
}
