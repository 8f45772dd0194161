//! Requests with an error in one of their items, as bytes that no SDK would write. The other items
//! arrive, and the sender and the operator are told which item is wrong and why.

mod client;

use anyhow::{Context as _, Result, ensure};
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::{
    Gauge, Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use prost::Message as _;
use spandrel_tests::backend::Backend;
use spandrel_tests::collector::{Collector, Setup};
use spandrel_tests::config::Config;
use spandrel_tests::until::{say, soon};
use tonic::Code;

use self::client::Client;

const TRACES: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";
const METRICS: &str = "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export";
const LOGS: &str = "/opentelemetry.proto.collector.logs.v1.LogsService/Export";

/// A text, and its replacement that was cut inside a character.
const WHOLE: &str = "caf\u{e9}s";
const CUT: &[u8] = b"caf\xc3 s";

fn text(key: &str, value: &str) -> KeyValue {
    KeyValue {
        key: key.to_owned(),
        value: Some(AnyValue {
            value: Some(Value::StringValue(value.to_owned())),
        }),
        ..KeyValue::default()
    }
}

fn resource() -> Option<Resource> {
    Some(Resource {
        attributes: vec![text("service.name", "menu")],
        ..Resource::default()
    })
}

/// Makes ten spans. The third has the text that will be cut.
fn spans() -> ExportTraceServiceRequest {
    let span = |number: u8| Span {
        trace_id: vec![number; 16],
        span_id: vec![number; 8],
        name: format!("GET /{number}"),
        attributes: match number {
            3 => vec![text("db.system", "mysql"), text("db.statement", WHOLE)],
            _ => Vec::new(),
        },
        ..Span::default()
    };
    ExportTraceServiceRequest {
        resource_spans: vec![ResourceSpans {
            resource: resource(),
            scope_spans: vec![ScopeSpans {
                spans: (1..=10).map(span).collect(),
                ..ScopeSpans::default()
            }],
            ..ResourceSpans::default()
        }],
    }
}

fn points() -> ExportMetricsServiceRequest {
    let point = |number: u64| NumberDataPoint {
        time_unix_nano: number,
        attributes: match number {
            2 => vec![text("dish", WHOLE)],
            _ => Vec::new(),
        },
        ..NumberDataPoint::default()
    };
    let data_points = (1..=3).map(point).collect();
    let metric = Metric {
        name: "orders".to_owned(),
        data: Some(Data::Gauge(Gauge { data_points })),
        ..Metric::default()
    };
    ExportMetricsServiceRequest {
        resource_metrics: vec![ResourceMetrics {
            resource: resource(),
            scope_metrics: vec![ScopeMetrics {
                metrics: vec![metric],
                ..ScopeMetrics::default()
            }],
            ..ResourceMetrics::default()
        }],
    }
}

fn records() -> ExportLogsServiceRequest {
    let record = |number: u64| LogRecord {
        time_unix_nano: number,
        attributes: match number {
            1 => vec![text("dish", WHOLE)],
            _ => Vec::new(),
        },
        ..LogRecord::default()
    };
    ExportLogsServiceRequest {
        resource_logs: vec![ResourceLogs {
            resource: resource(),
            scope_logs: vec![ScopeLogs {
                log_records: (1..=3).map(record).collect(),
                ..ScopeLogs::default()
            }],
            ..ResourceLogs::default()
        }],
    }
}

/// Returns the same bytes with the text cut.
fn cut(mut bytes: Vec<u8>) -> Vec<u8> {
    let mut places = 0..bytes.len();
    if let Some(at) = places.find(|at| bytes[*at..].starts_with(WHOLE.as_bytes())) {
        bytes[at..at + CUT.len()].copy_from_slice(CUT);
    }
    bytes
}

async fn collector(backend: &Backend, invalid_utf8: Option<&str>) -> Result<Collector> {
    backend.keep();
    let mut setup = Setup::new(&Config::new(backend.endpoint()).yaml())?;
    if let Some(invalid_utf8) = invalid_utf8 {
        setup = setup.set("receivers::otlp::invalid_utf8", invalid_utf8);
    }
    Collector::start(&setup).await
}

/// By default, a text that is not UTF-8 loses only its invalid bytes: the span arrives with U+FFFD,
/// the sender gets no message, and the operator finds the sender in the log and the number in a
/// metric.
#[tokio::test]
async fn a_cut_text_is_mended() -> Result<()> {
    let backend = Backend::start().await?;
    let collector = collector(&backend, None).await?;
    let mut client = Client::connect(&collector).await?;
    for (path, bytes) in [
        (TRACES, spans().encode_to_vec()),
        (METRICS, points().encode_to_vec()),
        (LOGS, records().encode_to_vec()),
    ] {
        let told = client.send(path, cut(bytes)).await?;
        ensure!(told == (0, String::new()), "{path}: {told:?}");
    }
    let line = collector
        .wait_for_message("text that is not UTF-8 replaced")
        .await?;
    let place = line.text("place").context("no place")?;
    let expected = r#"resource 1 (service "menu"), span 3 "GET /3", attribute "db.statement""#;
    ensure!(place == expected, "{place}");
    let metrics = collector.metrics().await?;
    let replaced = metrics.sum("spandrel_receiver_replaced_texts_total", &[]);
    ensure!(replaced == 3, "{replaced}");
    collector.stop().await?.expect_code(0)?;

    let mended = "caf\u{fffd} s";
    let mut expected = spans();
    expected.resource_spans[0].scope_spans[0].spans[2].attributes[1] = text("db.statement", mended);
    let taken = backend.taken();
    ensure!(
        taken.traces == expected.resource_spans,
        "{:?}",
        taken.traces
    );
    let mut expected = points();
    let metric = &mut expected.resource_metrics[0].scope_metrics[0].metrics[0];
    let Some(Data::Gauge(gauge)) = &mut metric.data else {
        panic!("not a gauge");
    };
    gauge.data_points[1].attributes[0] = text("dish", mended);
    ensure!(taken.metrics == [expected], "{:?}", taken.metrics);
    let mut expected = records();
    let record = &mut expected.resource_logs[0].scope_logs[0].log_records[0];
    record.attributes[0] = text("dish", mended);
    ensure!(taken.logs == [expected], "{:?}", taken.logs);
    Ok(())
}

/// With `invalid_utf8: reject` the whole item is rejected, for every signal: the answer is OK, and
/// names the number, the service and the place. The nine others arrive, and the ledger balances.
#[tokio::test]
async fn nine_good_neighbours_arrive() -> Result<()> {
    let backend = Backend::start().await?;
    let collector = collector(&backend, Some("reject")).await?;
    let mut client = Client::connect(&collector).await?;
    for (path, bytes, words) in [
        (
            TRACES,
            spans().encode_to_vec(),
            r#"1 spans refused: resource 1 (service "menu"), span 3 "GET /3", attribute "db.statement": text in value that is not UTF-8"#,
        ),
        (
            METRICS,
            points().encode_to_vec(),
            r#"1 data points refused: resource 1 (service "menu"), metric 1 "orders", data point 2, attribute "dish": text in value that is not UTF-8"#,
        ),
        (
            LOGS,
            records().encode_to_vec(),
            r#"1 log records refused: resource 1 (service "menu"), log record 1, attribute "dish": text in value that is not UTF-8"#,
        ),
    ] {
        let told = client.send(path, cut(bytes)).await?;
        ensure!(told == (1, words.to_owned()), "{told:?}");
    }
    let line = collector.wait_for_message("invalid items refused").await?;
    let why = line.text("why").context("no reason")?;
    ensure!(why.contains(r#"service "menu""#), "{why}");
    let metrics = collector.metrics().await?;
    for pipeline in ["traces", "metrics", "logs"] {
        let name = "spandrel_ledger_invalid_items_total";
        let refused = metrics.sum(name, &[("pipeline", pipeline)]);
        ensure!(refused == 1, "{pipeline}: {refused}");
    }
    let ended = collector.stop().await?;
    ended.expect_code(0)?;
    for (pipeline, received, exported) in [("traces", 10, 9), ("metrics", 3, 2), ("logs", 3, 2)] {
        let ledger = ended.ledger(pipeline)?;
        ledger.check()?;
        ensure!((ledger.received, ledger.exported) == (received, exported));
        ensure!(ledger.refused == 1);
    }
    let mut expected = spans();
    expected.resource_spans[0].scope_spans[0].spans.remove(2);
    let taken = backend.taken();
    ensure!(
        taken.traces == expected.resource_spans,
        "{:?}",
        taken.traces
    );
    Ok(())
}

/// A request that cannot be split into items is refused as a whole, for good. Its sender is told in
/// which attribute of which span it ends, and so is the operator.
#[tokio::test]
async fn a_request_that_ends_too_early_is_told_where() -> Result<()> {
    let backend = Backend::start().await?;
    let collector = collector(&backend, None).await?;
    let mut client = Client::connect(&collector).await?;
    let mut bytes = spans().encode_to_vec();
    let at = bytes.windows(12).position(|text| text == b"db.statement");
    bytes.truncate(at.context("the key")? + 14);
    let refused = client.send(TRACES, bytes).await.expect_err("refused");
    ensure!(refused.code() == Code::InvalidArgument, "{refused}");
    let words =
        r#"resource 1 (service "menu"), span 3 "GET /3", attribute "db.statement": malformed"#;
    ensure!(refused.message().starts_with(words), "{refused}");
    let line = collector
        .wait_for_message("request refused for good")
        .await?;
    ensure!(
        line.text("error")
            .is_some_and(|error| error.starts_with(words))
    );
    collector.stop().await?.expect_code(0)
}

/// A reload can change the setting: the socket and its clients stay. An earlier connection is asked
/// to end, and requests on it are judged as before.
#[tokio::test]
async fn a_reload_changes_what_becomes_of_texts() -> Result<()> {
    let backend = Backend::start().await?;
    backend.keep();
    let config = Config::new(backend.endpoint()).yaml();
    let setup = Setup::new(&config)?;
    let collector = Collector::start(&setup).await?;
    let mut client = Client::connect(&collector).await?;
    ensure!(client.send(TRACES, cut(spans().encode_to_vec())).await?.0 == 0);
    let rejecting = config.replace(
        "otlp: { protocols",
        "otlp: { invalid_utf8: reject, protocols",
    );
    ensure!(rejecting != config);
    std::fs::write(setup.file("spandrel.yaml"), rejecting)?;
    collector.hang_up()?;
    collector.wait_for_message("configuration reloaded").await?;
    soon("a request that is judged by the new setting", async {
        loop {
            match client.send(TRACES, cut(spans().encode_to_vec())).await {
                Ok((rejected, _)) if rejected > 0 => break,
                Ok(_) => {}
                // A connection from before the reload may end just as a request takes it.
                Err(error) => say(&format!("sent again: {error:#}")),
            }
        }
    })
    .await?;
    collector.stop().await?.expect_code(0)
}

/// Log records at the traces service have the same framing and other fields. None of them becomes a
/// span without ids: all are refused, for good, and their sender is told.
#[tokio::test]
async fn logs_at_the_service_of_traces_are_refused() -> Result<()> {
    let backend = Backend::start().await?;
    let collector = collector(&backend, None).await?;
    let mut client = Client::connect(&collector).await?;
    let (refused, why) = client.send(TRACES, records().encode_to_vec()).await?;
    ensure!(refused == 3, "{refused}: {why}");
    ensure!(
        why.starts_with(r#"3 spans refused: resource 1 (service "menu"), span 1"#),
        "{why}"
    );
    let ended = collector.stop().await?;
    ended.expect_code(0)?;
    let ledger = ended.ledger("traces")?;
    ledger.check()?;
    ensure!((ledger.received, ledger.refused, ledger.exported) == (3, 3, 0));
    ensure!(backend.totals().spans == 0);
    Ok(())
}

/// Odd times are left to the sender: a span that ends before it began is kept, and so are its
/// neighbours.
#[tokio::test]
async fn odd_times_are_no_fault() -> Result<()> {
    let backend = Backend::start().await?;
    let collector = collector(&backend, Some("reject")).await?;
    let mut client = Client::connect(&collector).await?;
    let mut request = spans();
    let odd = &mut request.resource_spans[0].scope_spans[0].spans;
    odd[0].start_time_unix_nano = 1_700_000_000_000_000_000;
    odd[0].end_time_unix_nano = 1;
    odd[1].start_time_unix_nano = u64::MAX;
    let told = client.send(TRACES, request.encode_to_vec()).await?;
    ensure!(told == (0, String::new()), "{told:?}");
    collector.stop().await?.expect_code(0)?;
    let taken = backend.taken();
    ensure!(taken.traces == request.resource_spans, "{:?}", taken.traces);
    Ok(())
}
