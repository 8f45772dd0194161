//! Real-world spans through the example plugins: fields that senders leave out, name in the old
//! way, write in another type, or share with another span.

use anyhow::Result;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, ArrayValue, KeyValue};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use spandrel_tests::shop::attribute::{find, number, text};
use spandrel_tests::shop::{now, spans};

use super::Example;

const SERVER: i32 = 2;
const CLIENT: i32 = 3;

/// Makes a root of a trace of its own that took 5 ms.
fn span(name: &str, id: u8) -> Span {
    let start = now();
    Span {
        trace_id: vec![id; 16],
        span_id: vec![id; 8],
        name: name.to_owned(),
        kind: SERVER,
        start_time_unix_nano: start,
        end_time_unix_nano: start + 5_000_000,
        ..Span::default()
    }
}

fn with(mut span: Span, attributes: Vec<KeyValue>) -> Span {
    span.attributes = attributes;
    span
}

fn of(attributes: Vec<KeyValue>, spans: Vec<Span>) -> ResourceSpans {
    let resource = Resource {
        attributes,
        ..Resource::default()
    };
    ResourceSpans {
        resource: Some(resource),
        scope_spans: vec![ScopeSpans {
            spans,
            ..ScopeSpans::default()
        }],
        ..ResourceSpans::default()
    }
}

fn export(service: &str, spans: Vec<Span>) -> ExportTraceServiceRequest {
    let resource_spans = vec![of(vec![text("service.name", service)], spans)];
    ExportTraceServiceRequest { resource_spans }
}

fn value(key: &str, value: Value) -> KeyValue {
    KeyValue {
        key: key.to_owned(),
        value: Some(AnyValue { value: Some(value) }),
        ..KeyValue::default()
    }
}

/// Returns the names of the spans that arrived, in order of names, and the number that the plugin
/// dropped.
async fn arrived(example: Example) -> Result<(Vec<String>, u64)> {
    let ended = example.collector.stop().await?;
    ended.expect_code(0)?;
    let ledger = ended.ledger("traces")?;
    ledger.check()?;
    let taken = example.backend.taken();
    let mut names: Vec<_> = spans(&taken.traces)
        .map(|(_, span)| span.name.clone())
        .collect();
    names.sort();
    assert_eq!(ledger.exported, names.len() as u64);
    Ok((names, ledger.dropped))
}

/// Both sides of a call may share one id (Zipkin's B3 headers: Envoy, Brave, Sleuth), and a process
/// may repeat its random numbers at each start: each span arrives once, however often it is sent.
#[tokio::test]
async fn spans_that_share_ids_arrive_once_each() -> Result<()> {
    let mut example = Example::start("drop-duplicates", &[]).await?;
    let mut client = span("cart", 1);
    client.kind = CLIENT;
    let mut server = client.clone();
    server.kind = SERVER;
    let mut restarted = server.clone();
    restarted.start_time_unix_nano += 60_000_000_000;
    restarted.end_time_unix_nano += 60_000_000_000;
    let requests = [
        export("front", vec![client]),
        export("cart", vec![server]),
        export("cart", vec![restarted]),
    ];
    for request in requests.iter().chain(&requests) {
        example.send(request.clone()).await?;
    }
    assert_eq!(arrived(example).await?, (vec!["cart".to_owned(); 3], 3));
    Ok(())
}

/// Invalid times make no trace interesting, and do not hide an interesting one.
#[tokio::test]
async fn bad_times_are_not_slow() -> Result<()> {
    let settings = [("ratio", "0.0"), ("slow", "1s"), ("settle", "50ms")];
    let mut example = Example::start("keep-interesting-traces", &settings).await?;
    let at = |name, id, start, end| Span {
        start_time_unix_nano: start,
        end_time_unix_nano: end,
        ..span(name, id)
    };
    let (nanos, second) = (now(), 1_000_000_000);
    let part_of = |mut span: Span, id: u8| {
        span.trace_id = vec![id; 16];
        span.parent_span_id = vec![id; 8];
        span
    };
    let all = vec![
        at("no times", 1, 0, 0),
        at("no start", 2, 0, nanos),
        at("end before start", 3, nanos, nanos - 2 * second),
        at(
            "milliseconds",
            4,
            nanos / 1_000_000,
            nanos / 1_000_000 + 5_000,
        ),
        at("microseconds", 5, nanos / 1_000, nanos / 1_000 + 5_000_000),
        span("with a child without times", 6),
        part_of(at("a child without times", 7, 0, 0), 6),
        span("beside a phone", 8),
        part_of(
            at(
                "a phone's clock",
                9,
                nanos - 7_200 * second,
                nanos - 7_199 * second,
            ),
            8,
        ),
        at("slow", 10, nanos - 2 * second, nanos),
        part_of(at("slow with a child without times", 11, 0, nanos), 10),
    ];
    // The phone's own span takes one nanosecond less than a second.
    let mut all = all;
    all[8].end_time_unix_nano -= 1;
    example.send(export("shop", all)).await?;
    let expected = ["slow", "slow with a child without times"].map(str::to_owned);
    assert_eq!(arrived(example).await?, (expected.to_vec(), 9));
    Ok(())
}

/// A failure in an HTTP status, a tag or an exception, but not in the span's status, keeps its
/// trace; one that the developer called "ok" does not.
#[tokio::test]
async fn failures_without_a_status_are_interesting() -> Result<()> {
    let settings = [("ratio", "0.0"), ("slow", "1h"), ("settle", "50ms")];
    let mut example = Example::start("keep-interesting-traces", &settings).await?;
    let mut exception = span("exception", 5);
    exception.events = vec![opentelemetry_proto::tonic::trace::v1::span::Event {
        time_unix_nano: now(),
        name: "exception".to_owned(),
        ..Default::default()
    }];
    let mut well = with(span("well", 6), vec![number("http.status_code", 503)]);
    well.status = Some(opentelemetry_proto::tonic::trace::v1::Status {
        code: 1,
        ..Default::default()
    });
    let all = vec![
        with(
            span("new name", 1),
            vec![number("http.response.status_code", 500)],
        ),
        with(span("old name", 2), vec![number("http.status_code", 502)]),
        with(span("text", 3), vec![text("http.status_code", "503")]),
        with(span("tag", 4), vec![value("error", Value::BoolValue(true))]),
        exception,
        well,
        with(
            span("not found", 7),
            vec![number("http.response.status_code", 404)],
        ),
    ];
    example.send(export("shop", all)).await?;
    let expected = ["exception", "new name", "old name", "tag", "text"].map(str::to_owned);
    assert_eq!(arrived(example).await?, (expected.to_vec(), 2));
    Ok(())
}

/// Health checks are recognized by the path in a URL, by a value of any type, by old and new names.
/// Failed ones stay, even without a status.
#[tokio::test]
async fn health_checks_in_any_form_are_dropped() -> Result<()> {
    let settings = [(
        "attributes",
        "{ code: [204], cached: ['true'], http.method: [OPTIONS] }",
    )];
    let mut example = Example::start("drop-health-checks", &settings).await?;
    let list = |values: [i64; 2]| {
        let values = values.map(|it| AnyValue {
            value: Some(Value::IntValue(it)),
        });
        Value::ArrayValue(ArrayValue {
            values: values.to_vec(),
        })
    };
    let path = || text("url.path", "/healthz");
    let all = vec![
        with(
            span("whole url", 1),
            vec![text("url.full", "https://shop:8443/healthz?full=1")],
        ),
        with(
            span("old url", 2),
            vec![text("http.url", "http://shop/readyz")],
        ),
        with(span("slash", 3), vec![text("http.target", "/livez/?x")]),
        with(span("a number", 4), vec![number("code", 204)]),
        with(span("a list", 5), vec![value("code", list([200, 204]))]),
        with(
            span("a boolean", 6),
            vec![value("cached", Value::BoolValue(true))],
        ),
        with(
            span("new name", 7),
            vec![text("http.request.method", "OPTIONS")],
        ),
        with(
            span("rpc", 8),
            vec![text("rpc.method", "grpc.health.v1.Health/Check")],
        ),
        with(
            span("kept: failed", 9),
            vec![path(), number("http.response.status_code", 503)],
        ),
        with(
            span("kept: failed in text", 10),
            vec![path(), text("http.status_code", "500")],
        ),
        with(
            span("kept: in a query", 11),
            vec![text("url.full", "http://shop/cart?to=/healthz")],
        ),
        with(span("kept: other number", 12), vec![number("code", 2_040)]),
    ];
    example.send(export("shop", all)).await?;
    let (names, dropped) = arrived(example).await?;
    assert!(
        names.iter().all(|name| name.starts_with("kept: ")),
        "{names:?}"
    );
    assert_eq!((names.len(), dropped), (4, 8));
    Ok(())
}

/// A service without a name gets the default row, for every placeholder that its SDK wrote.
#[tokio::test]
async fn services_without_a_name_have_the_default_tags() -> Result<()> {
    let services = "{ '*': { team: named }, '*-worker': { team: platform } }";
    let mut example = Example::start("tag-by-service", &[("services", services)]).await?;
    let name = |it: &str| vec![text("service.name", it)];
    let resource_spans = vec![
        of(vec![], vec![span("none", 1)]),
        of(name(""), vec![span("empty", 2)]),
        of(name("unknown_service"), vec![span("unknown", 3)]),
        of(
            name("unknown_service:mail-worker"),
            vec![span("a process", 4)],
        ),
        of(name("shop"), vec![span("shop", 5)]),
    ];
    example
        .send(ExportTraceServiceRequest { resource_spans })
        .await?;
    let (backend, _) = example.finish().await?;
    assert_eq!(backend.totals().spans, 5);
    for (resource, span) in spans(&backend.taken().traces) {
        let team = find(&resource.unwrap().attributes, "team");
        let expected = if span.name == "shop" {
            "named"
        } else {
            "unknown"
        };
        assert_eq!(team, Some(expected), "{}", span.name);
    }
    Ok(())
}
