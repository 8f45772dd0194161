//! The whole program in this process, without plugins: it is built, run and drained.

#![expect(
    clippy::expect_used,
    reason = "a test ends at the first thing that is not as it should be"
)]

use std::future::{pending, ready};
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use spandrel::StartError;
use spandrel::app::App;
use spandrel_collector::Ending;
use spandrel_config::Config;
use spandrel_config::examine::Examined;
use spandrel_config::source::Sources;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

const LINE: &str = r#"{"resourceSpans":[{"scopeSpans":[{"spans":[{"traceId":"0af7651916cd43dd8448eb211c80319c","spanId":"b7ad6b7169203331","name":"GET /cart"}]}]}]}"#;

fn config(yaml: &str) -> Config {
    let configs = vec![format!("yaml:{yaml}")];
    let sources = Sources {
        configs,
        sets: Vec::new(),
    };
    Config::load(&sources).expect("the config is good")
}

fn replay(folder: &Path) -> Config {
    let folder = folder.display();
    config(&format!(
        "receivers: {{ file: {{ path: {folder}/in.jsonl }} }}
exporters: {{ file: {{ path: {folder}/out.jsonl }} }}
extensions: {{ health_check: {{ endpoint: 127.0.0.1:0 }} }}
service:
  extensions: [health_check]
  telemetry: {{ metrics: {{ readers: [{{ pull: {{ exporter: {{ prometheus: {{ host: 127.0.0.1, port: 0 }} }} }} }}] }} }}
  pipelines: {{ traces: {{ receivers: [file], exporters: [file] }} }}
"
    ))
}

fn address(app: &App, component: &str) -> SocketAddr {
    let mut addresses = app.addresses().iter();
    let found = addresses.find(|(name, _)| name == component);
    found.expect("the component listens").1
}

async fn get(address: SocketAddr, path: &str) -> (String, String) {
    let mut stream = TcpStream::connect(address).await.expect("it listens");
    let request = format!("GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    stream
        .write_all(request.as_bytes())
        .await
        .expect("it reads");
    let mut answer = String::new();
    stream
        .read_to_string(&mut answer)
        .await
        .expect("it answers");
    let (head, body) = answer.split_once("\r\n\r\n").expect("it answers in HTTP");
    (
        head.lines().next().unwrap_or_default().to_owned(),
        body.to_owned(),
    )
}

/// Resolves to the body once the metrics have this line.
async fn scraped(metrics: SocketAddr, line: &str) -> String {
    let wait = async {
        loop {
            let (_, body) = get(metrics, "/metrics").await;
            if body.lines().any(|found| found == line) {
                return body;
            }
            tokio::task::yield_now().await;
        }
    };
    let waited = tokio::time::timeout(Duration::from_secs(20), wait).await;
    waited.expect("the metric comes to this value")
}

/// The content of a file goes through the pipeline into another file. Health, metrics and the
/// ending show that.
#[tokio::test]
async fn a_file_is_replayed_into_a_file() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(
        folder.path().join("in.jsonl"),
        format!("{LINE}\nnonsense\n{LINE}\n"),
    )
    .expect("written");
    let app = App::build(replay(folder.path())).await.expect("it starts");
    let (health, metrics) = (address(&app, "health_check"), address(&app, "metrics"));
    assert_eq!(
        get(health, "/readyz").await.0,
        "HTTP/1.1 503 Service Unavailable"
    );
    assert_eq!(get(health, "/livez").await.0, "HTTP/1.1 200 OK");
    let stop = async {
        let body = scraped(metrics, "otelcol_exporter_sent_spans{exporter=\"file\"} 2").await;
        assert!(
            body.contains(
                "otelcol_receiver_accepted_spans{receiver=\"file\",transport=\"file\"} 2\n"
            ),
            "{body}"
        );
        assert!(
            body.contains("spandrel_ledger_balanced{pipeline=\"traces\"} 1\n"),
            "{body}"
        );
        let (status, body) = get(health, "/").await;
        assert_eq!(status, "HTTP/1.1 200 OK");
        assert!(
            body.starts_with(r#"{"status":"Server available","upSince":"2"#),
            "{body}"
        );
        assert_eq!(get(health, "/elsewhere").await.0, "HTTP/1.1 404 Not Found");
        "test"
    };
    assert_eq!(app.run(stop, pending()).await, Ending::Drained);
    let out = std::fs::read_to_string(folder.path().join("out.jsonl")).expect("written");
    assert_eq!(out.matches("b7ad6b7169203331").count(), 2);
    assert_eq!(out.lines().count(), 2);
}

/// A port in use is an error that names the address and the component that wanted it.
#[tokio::test]
async fn a_port_in_use_is_named() {
    let taken = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a port");
    let endpoint = taken.local_addr().expect("an address");
    let config = config(&format!(
        "receivers: {{ otlp: {{ protocols: {{ grpc: {{ endpoint: \"127.0.0.1:0\" }} }} }} }}
exporters: {{ debug: {{}} }}
extensions: {{ health_check: {{ endpoint: \"{endpoint}\" }} }}
service:
  extensions: [health_check]
  telemetry: {{ metrics: {{ level: none }} }}
  pipelines: {{ traces: {{ receivers: [otlp], exporters: [debug] }} }}
"
    ));
    let error = App::build(config).await.expect_err("the port is in use");
    assert!(matches!(error, StartError::Listen { .. }), "{error:?}");
    let message = error.to_string();
    assert!(
        message.contains("health_check") && message.contains(&endpoint.to_string()),
        "{message}"
    );
}

/// A missing plugin is an error that names the stage and the file, at the start and in `validate`.
#[tokio::test]
async fn a_missing_plugin_is_named() {
    let yaml = "receivers: { otlp: { protocols: { grpc: { endpoint: \"127.0.0.1:0\" } } } }
processors: { wasm/gone: { module: no/such/plugin.wasm } }
exporters: { debug: {} }
service:
  telemetry: { metrics: { level: none } }
  pipelines: { traces: { receivers: [otlp], processors: [wasm/gone], exporters: [debug] } }
";
    let sources = Sources {
        configs: vec![format!("yaml:{yaml}")],
        sets: Vec::new(),
    };
    let refused = App::check(Examined::read(&sources))
        .await
        .expect_err("there is no plugin");
    let message = refused.to_string();
    assert!(
        message.starts_with("--config yaml::2:36: processors::wasm/gone::module: ")
            && message.contains("no/such/plugin.wasm"),
        "{message}"
    );
    let error = App::build(config(yaml))
        .await
        .expect_err("there is no plugin");
    assert!(
        matches!(
            &error,
            StartError::Collector(spandrel_collector::StartError::Plugin { stage, .. })
                if stage == "wasm/gone"
        ),
        "{error:?}"
    );
}

/// An idle collector stops at once and completely, however long a drain may take.
#[tokio::test]
async fn an_idle_collector_stops_at_once() {
    let config = config(
        "receivers: { otlp: { protocols: { grpc: { endpoint: \"127.0.0.1:0\" } } } }
exporters: { debug: {} }
service:
  drain_timeout: 10m
  telemetry: { metrics: { level: none } }
  pipelines:
    traces: { receivers: [otlp], exporters: [debug] }
    metrics: { receivers: [otlp], exporters: [debug] }
",
    );
    let app = App::build(config).await.expect("it starts");
    assert_ne!(address(&app, "otlp").port(), 0);
    let run = app.run(ready("test"), pending());
    let ending = tokio::time::timeout(Duration::from_secs(20), run).await;
    assert_eq!(ending, Ok(Ending::Drained));
}

/// A second signal ends the drain at once. Everything that was not exported is booked as abandoned,
/// to the item, and the ending shows that.
#[tokio::test]
async fn a_second_signal_abandons_the_rest() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("in.jsonl"), format!("{LINE}\n{LINE}\n")).expect("written");
    // A port that nobody listens on: it was free a moment ago, and is held without listening.
    let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
    socket
        .bind("127.0.0.1:0".parse().expect("an address"))
        .expect("a free port");
    let backend = socket.local_addr().expect("an address");
    let config = config(&format!(
        "receivers: {{ file: {{ path: {}/in.jsonl }} }}
exporters: {{ otlp_grpc: {{ endpoint: \"http://{backend}\" }} }}
service:
  telemetry: {{ metrics: {{ readers: [{{ pull: {{ exporter: {{ prometheus: {{ host: 127.0.0.1, port: 0 }} }} }} }}] }} }}
  pipelines: {{ traces: {{ receivers: [file], exporters: [otlp_grpc] }} }}
",
        folder.path().display()
    ));
    let app = App::build(config).await.expect("it starts");
    let metrics = address(&app, "metrics");
    let stop = async {
        scraped(
            metrics,
            "spandrel_ledger_received_items_total{pipeline=\"traces\"} 2",
        )
        .await;
        "first"
    };
    let ledgers = app.ledgers();
    assert_eq!(app.run(stop, ready("second")).await, Ending::Abandoned);
    let books = ledgers.first().expect("there is one pipeline").books();
    assert_eq!((books.received, books.abandoned()), (2, 2), "{books}");
    assert!(books.is_balanced() && books.is_settled(), "{books}");
}
