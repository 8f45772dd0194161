//! Puts a marker in every place where a secret can be, and runs the collector through its life with
//! the most verbose log: no output contains the marker.

use anyhow::{Context as _, Result, ensure};
use spandrel_tests::admin::Admin;
use spandrel_tests::client::Client;
use spandrel_tests::collector::{Collector, Ended, Setup};
use spandrel_tests::metrics;
use spandrel_tests::shop::Shop;
use spandrel_tests::until::until;

/// The marker. No other text contains it, in upper or lower case.
const MARKER: &str = "c4n4ry5ecret";
/// `ada:c4n4ry5ecret`, base64 encoded as it is sent.
const ENCODED: &str = "YWRhOmM0bjRyeTVlY3JldA";

/// A config with a token in it and one in a file, a password for each side, headers, and a value
/// from the environment. The backend of one exporter is missing, the other asks for another token.
const CONFIG: &str = r#"
receivers:
  otlp: { protocols: { grpc: { endpoint: 127.0.0.1:0, auth: { authenticator: bearertokenauth } } } }
  otlp/basic: { protocols: { grpc: { endpoint: 127.0.0.1:0, auth: { authenticator: basicauth/clients } } } }
exporters:
  otlp_grpc:
    endpoint: http://127.0.0.1:1
    headers: { x-api-key: "${env:API_KEY}", authorization: "Bearer c4n4ry5ecret" }
    auth: { authenticator: bearertokenauth/file }
    retry_on_failure: { initial_interval: 10ms, max_interval: 20ms }
  otlp_grpc/basic:
    endpoint: http://127.0.0.1:2
    auth: { authenticator: basicauth/backend }
    retry_on_failure: { enabled: false }
extensions:
  admin: {}
  health_check: { endpoint: 127.0.0.1:0 }
  bearertokenauth: { tokens: [c4n4ry5ecret, "${env:API_KEY}"] }
  bearertokenauth/file: { filename: token }
  basicauth/clients: { htpasswd: { file: htpasswd, inline: "bob:c4n4ry5ecret" } }
  basicauth/backend: { client_auth: { username: ada, password: c4n4ry5ecret } }
service:
  drain_timeout: 2s
  extensions: [admin, health_check, bearertokenauth, bearertokenauth/file, basicauth/clients, basicauth/backend]
  telemetry:
    logs: { encoding: json, level: debug }
    metrics: { readers: [{ pull: { exporter: { prometheus: { host: 127.0.0.1, port: 0 } } } }] }
  pipelines:
    traces: { receivers: [otlp, otlp/basic], exporters: [otlp_grpc, otlp_grpc/basic] }
"#;

/// Edits that make the configuration invalid, with the marker at the mistake.
const BAD: [(&str, &str); 6] = [
    (
        "headers: { x-api-key: \"${env:API_KEY}\"",
        "headers: { x-api-key: \"c4n4ry5ecret\\n\"",
    ),
    ("tokens: [c4n4ry5ecret,", "tokens: [\"c4n4ry5ecret\\x07\","),
    (
        "inline: \"bob:c4n4ry5ecret\"",
        "inline: \"bob:{SHA}c4n4ry5ecret\"",
    ),
    ("username: ada,", "username: \"c4n4ry5ecret:x\","),
    (
        "initial_interval: 10ms",
        "initial_interval: \"${env:API_KEY}\"",
    ),
    ("filename: token", "token: { c4n4ry5ecret: c4n4ry5ecret }"),
];

fn check(what: &str, text: &str) -> Result<()> {
    let lower = text.to_ascii_lowercase();
    let shown = lower.contains(MARKER) || text.contains(ENCODED);
    ensure!(!shown, "a secret is in {what}:\n{text}");
    Ok(())
}

fn check_log(what: &str, ended: &Ended) -> Result<()> {
    let lines = ended.log.lines();
    ensure!(!lines.is_empty(), "{what} said nothing");
    lines.iter().try_for_each(|line| check(what, &line.raw))
}

fn setup() -> Result<Setup> {
    let setup = Setup::new(CONFIG)?.env("API_KEY", MARKER);
    let socket = format!("unix:{}", setup.file("admin.sock").display());
    let setup = setup.set("extensions::admin::endpoint", &socket);
    std::fs::write(setup.file("token"), MARKER)?;
    std::fs::write(setup.file("htpasswd"), format!("ada:{MARKER}\n"))?;
    Ok(setup)
}

/// No secret shows in a whole life: start, requests with good and bad credentials, failed exports,
/// good and bad changes of files and configurations, all views, and the end.
#[tokio::test]
async fn a_life_shows_no_secret() -> Result<()> {
    let setup = setup()?;
    let collector = Collector::start(&setup).await?;
    for (receiver, credentials, good) in [
        ("otlp", "Bearer c4n4ry5ecret", true),
        ("otlp", "Bearer c4n4ry5ecret-wrong", false),
        ("otlp/basic", "Basic YWRhOmM0bjRyeTVlY3JldA==", true),
        ("otlp/basic", "Basic YWRhOmM0bjRyeTVlY3JldAo=", false),
        ("otlp/basic", "Basic c4n4ry5ecret", false),
    ] {
        let client = Client::connect(&collector.address(receiver)?).await?;
        let mut client = client.with_header("authorization", credentials)?;
        let answer = client.try_send(Shop::new(3).request(2)).await;
        ensure!(answer.is_ok() == good, "{receiver}: {answer:?}");
        if let Err(status) = answer {
            check("an answer", &format!("{status:?}"))?;
        }
    }
    for bad in ["", "c4n4ry5ecret\u{7}"] {
        std::fs::write(setup.file("token"), bad)?;
        std::fs::write(setup.file("htpasswd"), format!("{MARKER}{bad}"))?;
        let message = "new credentials cannot be used, the old ones stay in force";
        let before = collector.log().count_of(message);
        let said = || async { (collector.log().count_of(message) > before).then_some(()) };
        until("a warning of the bad file", said).await?;
    }
    let admin = collector.admin()?;
    for (good, wrong) in BAD {
        std::fs::write(setup.file("spandrel.yaml"), CONFIG.replace(good, wrong))?;
        let answer = admin.ask("POST", "/v1/reload", "", b"").await?;
        check("a refusal", &answer.refusal(422).context(wrong)?)?;
    }
    std::fs::write(setup.file("spandrel.yaml"), CONFIG.replace("ada", "eve"))?;
    let answer = admin.ask("POST", "/v1/reload", "", b"").await?;
    ensure!(answer.code == 200, "{answer:?}");
    check("a report", &format!("{answer:?}"))?;
    views(&collector, &admin).await?;
    check_log("the log", &collector.stop().await?)
}

async fn views(collector: &Collector, admin: &Admin) -> Result<()> {
    for path in [
        "/v1/pipelines",
        "/v1/ledger",
        "/v1/stages",
        "/v1/history",
        "/v1/version",
    ] {
        let answer = admin.ask("GET", path, "", b"").await?;
        ensure!(answer.code == 200, "{path}: {answer:?}");
        check(path, &format!("{answer:?}"))?;
    }
    for (component, path) in [("metrics", "/metrics"), ("health_check", "/")] {
        let (_, body) = metrics::get(&collector.address(component)?, path).await?;
        check(path, &body)?;
    }
    Ok(())
}

/// A configuration that is invalid because of a variable or a command line option is refused
/// without showing the value.
#[tokio::test]
async fn a_refused_start_shows_no_secret() -> Result<()> {
    for (good, wrong) in BAD {
        let setup = setup()?;
        std::fs::write(setup.file("spandrel.yaml"), CONFIG.replace(good, wrong))?;
        let ended = Collector::spawn(&setup)?.wait().await?;
        ensure!(ended.code()? != 0, "{wrong} was accepted");
        check_log(wrong, &ended)?;
    }
    for path in [
        "exporters::otlp_grpc::timeout",
        "exporters::otlp_grpc::compression",
        "exporters::otlp_grpc::auth::authenticator",
        "exporters::otlp_grpc::sending_queue::queue_size",
        "exporters::otlp_grpc::tls::insecure",
        "exporters::otlp_grpc::tls::min_version",
        "service::pipelines::traces::exporters",
        "service::telemetry::logs::level",
        "extensions::health_check::endpoint",
        "receivers::otlp::protocols::grpc::endpoint",
    ] {
        for value in ["c4n4ry5ecret!", "${env:API_KEY}", "x${env:API_KEY}"] {
            let ended = Collector::spawn(&setup()?.set(path, value))?.wait().await?;
            ensure!(ended.code()? != 0, "{path}={value} was accepted");
            check_log(path, &ended)?;
        }
    }
    Ok(())
}
