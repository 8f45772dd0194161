//! Certificates and credentials between two collectors, changed while traffic passes.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use anyhow::{Result, ensure};
use spandrel_tests::authority::{Authority, replace};
use spandrel_tests::backend::{Backend, Taken};
use spandrel_tests::client::Client;
use spandrel_tests::collector::{Collector, Setup};
use spandrel_tests::config::Config;
use spandrel_tests::shop::Shop;
use spandrel_tests::until::{say, until};
use tempfile::TempDir;
use tokio::task::JoinSet;
use tonic::Code;

/// The `tls` keys of a collector with its files in this folder.
const FILES: &str = "cert_file: cert.pem, key_file: key.pem, reload_interval: 20ms";

/// Makes a collector trust these authorities, and no others.
fn trust(folder: &Path, authorities: &[&Authority]) -> Result<()> {
    let all: String = authorities.iter().map(|one| one.pem()).collect();
    replace(&folder.join("ca.pem"), &all)
}

/// Returns the number of times that a collector logged this message.
fn said(collector: &Collector, message: &str) -> usize {
    collector.log().count_of(message)
}

/// Waits until a collector has logged a message once more than before.
async fn once_more(collector: &Collector, message: &str, before: usize) -> Result<()> {
    let more = || async { (said(collector, message) > before).then_some(()) };
    until(message, more).await
}

/// A sender that never pauses. Its collector counts each refused request.
struct Traffic {
    stop: Arc<AtomicBool>,
    sent: Arc<AtomicU64>,
    task: JoinSet<Result<Client>>,
}

impl Traffic {
    async fn start(address: &str, seed: u64) -> Result<Self> {
        let mut client = Client::connect(address).await?;
        let (stop, sent) = (
            Arc::new(AtomicBool::new(false)),
            Arc::new(AtomicU64::new(0)),
        );
        let (ended, count) = (Arc::clone(&stop), Arc::clone(&sent));
        let mut task = JoinSet::new();
        task.spawn(async move {
            let mut shop = Shop::new(seed);
            while !ended.load(Ordering::Relaxed) {
                client.send(shop.request(5)).await?;
                count.fetch_add(1, Ordering::Relaxed);
            }
            Ok(client)
        });
        Ok(Self { stop, sent, task })
    }

    /// Waits until more was sent.
    async fn goes_on(&self) -> Result<()> {
        let before = self.sent.load(Ordering::Relaxed);
        let more = || async { (self.sent.load(Ordering::Relaxed) >= before + 20).then_some(()) };
        until("traffic that goes on", more).await
    }

    /// Stops, and returns the number of spans that were sent. Each request had an answer, and
    /// one that was refused was sent again.
    async fn stop(mut self) -> Result<u64> {
        self.stop.store(true, Ordering::Relaxed);
        let client = self.task.join_next().await;
        let client = client.ok_or_else(|| anyhow::anyhow!("no task"))???;
        ensure!(client.unanswered == 0, "{} unanswered", client.unanswered);
        if client.refused > 0 {
            say(&format!("{} refused, this machine is busy", client.refused));
        }
        Ok(client.delivered.len() as u64)
    }
}

/// Two collectors with mutual TLS get certificates of another authority, in the steps that
/// operators use, and broken ones in between, while new connections are made all the time. No
/// request is without an answer, and everything arrives, once unless an export failed. On a machine
/// that keeps up, nothing is refused and no export fails.
#[tokio::test]
async fn authorities_rotate_under_traffic() -> Result<()> {
    const RELOADED: &str = "certificate reloaded";
    const BROKEN: &str = "new certificate cannot be used, the old one stays in force";
    let backend = Backend::start().await?;
    let (old, new) = (Authority::new()?, Authority::new()?);
    // Connections expire all the time, so that new ones are made.
    let aging = "keepalive: { server_parameters: { max_connection_age: 100ms } }";
    let gateway = Config::new(backend.endpoint()).grpc(&format!(
        "tls: {{ client_ca_file: ca.pem, {FILES} }}, {aging}"
    ));
    let gateway = Setup::new(&gateway.yaml())?;
    old.sign_into(gateway.folder())?;
    trust(gateway.folder(), &[&old])?;
    let inner = Collector::start(&gateway).await?;
    let port = inner.address("otlp")?;
    let port = port.rsplit(':').next().unwrap_or_default();
    let edge = Config::new(format!("https://127.0.0.1:{port}")).exporter(&format!(
        "tls: {{ ca_file: ca.pem, server_name_override: localhost, {FILES} }}"
    ));
    let edge = Setup::new(&edge.yaml())?;
    old.sign_into(edge.folder())?;
    trust(edge.folder(), &[&old])?;
    let outer = Collector::start(&edge).await?;
    let traffic = Traffic::start(&outer.address("otlp")?, 501).await?;
    traffic.goes_on().await?;

    let both = [(&inner, gateway.folder()), (&outer, edge.folder())];
    for (collector, folder) in both {
        let before = said(collector, RELOADED);
        trust(folder, &[&old, &new])?;
        once_more(collector, RELOADED, before).await?;
    }
    traffic.goes_on().await?;
    for (collector, folder) in both {
        let before = said(collector, RELOADED);
        let broken = said(collector, BROKEN);
        replace(
            &folder.join("cert.pem"),
            "-----BEGIN CERTIFICATE-----\nAAAA",
        )?;
        once_more(collector, BROKEN, broken).await?;
        traffic.goes_on().await?;
        new.sign_into(folder)?;
        once_more(collector, RELOADED, before).await?;
        traffic.goes_on().await?;
    }
    for (collector, folder) in both {
        let before = said(collector, RELOADED);
        trust(folder, &[&new])?;
        once_more(collector, RELOADED, before).await?;
    }
    traffic.goes_on().await?;
    let sent = traffic.stop().await?;
    for (collector, name) in [(&outer, "the edge"), (&inner, "the gateway")] {
        ensure!(said(collector, BROKEN) == 1, "{name} said it once");
    }
    everything_arrived([outer, inner], sent, &backend).await
}

/// Stops two collectors, one behind the other. All that was sent has come through both, once unless
/// an export failed.
async fn everything_arrived(
    collectors: [Collector; 2],
    sent: u64,
    backend: &Backend,
) -> Result<()> {
    const FAILED: &str = "exporting failed, will retry after the wait";
    let (mut logs, mut failed_before) = (String::new(), 0);
    for collector in collectors {
        let ended = collector.stop().await?;
        ended.expect_code(0)?;
        let ledger = ended.ledger("traces")?;
        ledger.check()?;
        logs.push_str(&ended.log.tail());
        let exported = ledger.exported;
        let failed = ended.log.count_of(FAILED);
        let is_right = exported == sent || failed + failed_before > 0 && exported > sent;
        ensure!(is_right, "{exported} of {sent}\n{logs}");
        failed_before += failed;
    }
    assert_eq!(backend.taken().spans.len() as u64, sent);
    if failed_before == 0 {
        assert_eq!(backend.taken().duplicates(), 0);
    } else {
        say(&format!(
            "{failed_before} exports failed, this machine is busy"
        ));
    }
    Ok(())
}

/// A client without TLS, or without a certificate of the right authority, does not get in, and the
/// collector counts it.
#[tokio::test]
async fn strangers_do_not_connect() -> Result<()> {
    let backend = Backend::start().await?;
    let authority = Authority::new()?;
    let config = Config::new(backend.endpoint())
        .grpc(&format!("tls: {{ client_ca_file: ca.pem, {FILES} }}"));
    let setup = Setup::new(&config.yaml())?;
    authority.sign_into(setup.folder())?;
    trust(setup.folder(), &[&authority])?;
    let collector = Collector::start(&setup).await?;
    let address = collector.address("otlp")?;
    if let Ok(mut client) = Client::connect(&address).await {
        client.try_send(Shop::new(1).request(1)).await.unwrap_err();
    }
    // In TLS 1.3 the handshake is over for the client before its certificate is requested.
    if let Ok(mut client) = Client::connect_trusting(&authority, &address).await {
        client.try_send(Shop::new(1).request(1)).await.unwrap_err();
    }
    let counted = || async {
        let metrics = collector.metrics().await.ok()?;
        let failed = metrics.sum("spandrel_receiver_failed_connections_total", &[]);
        (failed >= 2).then_some(())
    };
    until("both connections among those that failed", counted).await?;
    collector.stop().await?.expect_code(0)?;
    assert_eq!(backend.totals().spans, 0);
    Ok(())
}

/// Starts a collector that requires a token from its clients. The token is in a file.
async fn with_tokens(backend: &Backend) -> Result<(Collector, PathBuf, TempDir)> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("tokens");
    std::fs::write(&file, "first\n")?;
    let config = Config::new(backend.endpoint());
    let config = config.grpc("auth: { authenticator: bearertokenauth }");
    let setup = Setup::new(&config.yaml())?
        .set(
            "extensions::bearertokenauth::filename",
            &file.display().to_string(),
        )
        .set("service::extensions", "[health_check, bearertokenauth]");
    Ok((Collector::start(&setup).await?, file, folder))
}

/// Without a token, or with a wrong one, a request is refused for good, before it is read, and
/// counted. Another collector that has the token sends through it, also after the token has changed
/// on both sides.
#[tokio::test]
async fn tokens_are_asked_for_and_change() -> Result<()> {
    const RELOADED: &str = "credentials reloaded";
    let backend = Backend::start().await?;
    let (gateway, theirs, _folder) = with_tokens(&backend).await?;
    let address = gateway.address("otlp")?;
    let mut stranger = Client::connect(&address).await?;
    let refused = stranger.try_send(Shop::new(1).request(1)).await;
    assert_eq!(refused.unwrap_err().code(), Code::Unauthenticated);
    let answers = gateway.metrics().await?;
    let labels = [("receiver", "otlp"), ("code", "UNAUTHENTICATED")];
    assert_eq!(answers.sum("spandrel_receiver_requests_total", &labels), 1);

    let config = Config::new(format!("http://{address}"));
    let config = config.exporter("auth: { authenticator: bearertokenauth }");
    let edge = Setup::new(&config.yaml())?;
    let ours = edge.file("token");
    std::fs::write(&ours, "first")?;
    let edge = edge
        .set("extensions::bearertokenauth::filename", "token")
        .set("service::extensions", "[health_check, bearertokenauth]");
    let edge = Collector::start(&edge).await?;
    let traffic = Traffic::start(&edge.address("otlp")?, 502).await?;
    traffic.goes_on().await?;
    replace(&theirs, "first\nsecond\n")?;
    once_more(&gateway, RELOADED, 0).await?;
    replace(&ours, "second")?;
    once_more(&edge, RELOADED, 0).await?;
    replace(&theirs, "second\n")?;
    once_more(&gateway, RELOADED, 1).await?;
    traffic.goes_on().await?;
    let sent = traffic.stop().await?;
    let ended = edge.stop().await?;
    ended.expect_code(0)?;
    assert_eq!(ended.ledger("traces")?.exported, sent);
    gateway.stop().await?.expect_code(0)?;
    assert_eq!(backend.totals().spans, sent);
    Ok(())
}

/// With user and password a collector that knows them gets through. One that does not loses its
/// spans, logs this, and does not retry for ever.
#[tokio::test]
async fn passwords_are_asked_for() -> Result<()> {
    let hash = bcrypt::hash("open sesame", 4)?;
    let backend = Backend::start().await?;
    let config = Config::new(backend.endpoint()).grpc("auth: { authenticator: basicauth }");
    let gateway = Setup::new(&config.yaml())?;
    std::fs::write(
        gateway.file("htpasswd"),
        format!("ada:{hash}\nbob:builder\n"),
    )?;
    let gateway = gateway
        .set("extensions::basicauth::htpasswd::file", "htpasswd")
        .set("service::extensions", "[health_check, basicauth]");
    let gateway = Collector::start(&gateway).await?;
    let address = gateway.address("otlp")?;
    let mut expected = 0;
    for (user, password, welcome) in [
        ("ada", "open sesame", true),
        ("bob", "builder", true),
        ("bob", "open sesame", false),
    ] {
        let config = Config::new(format!("http://{address}"));
        let config = config.exporter("auth: { authenticator: basicauth }");
        let edge = Setup::new(&config.yaml())?
            .set("extensions::basicauth::client_auth::username", user)
            .set("extensions::basicauth::client_auth::password", password)
            .set("service::extensions", "[health_check, basicauth]");
        let edge = Collector::start(&edge).await?;
        let mut client = Client::connect(&edge.address("otlp")?).await?;
        client.send(Shop::new(7).request(3)).await?;
        let ended = edge.stop().await?;
        let sent = client.delivered.len() as u64;
        let arrived = if welcome { sent } else { 0 };
        ended.expect_code(0)?;
        let ledger = ended.ledger("traces")?;
        ledger.check()?;
        let ends = (ledger.exported, ledger.dropped);
        assert_eq!(ends, (arrived, sent - arrived), "{user}: {ledger:?}");
        // The gateway answers from its queue: the spans that it accepted may not have arrived when
        // the edge has ended.
        expected += arrived;
        let all = |taken: &Taken| taken.totals.spans == expected;
        backend.wait(user, all).await?;
    }
    gateway.stop().await?.expect_code(0)?;
    assert_eq!(backend.totals().spans, expected);
    Ok(())
}
