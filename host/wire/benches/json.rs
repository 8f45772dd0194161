//! Measures the cost of OTLP/JSON for each item beside that of `validate` on the same items as
//! protobuf: `cargo bench -p spandrel-wire --bench json`. The budget for reading JSON is four times
//! `validate`.

#[path = "corpus/request.rs"]
mod corpus;
#[path = "corpus/span.rs"]
mod span;

use std::hint::black_box;
use std::io::{Write, stdout};
use std::time::Duration;

use spandrel_wire::json::{from_protobuf, to_protobuf};
use spandrel_wire::{InvalidUtf8, Limits, Signal, validate};

use corpus::request;
use span::span;

const ROUNDS: usize = 400;

/// The number of items in each round.
const ITEMS: usize = 1024;

/// The number of items in a request.
const BATCH: usize = 512;

fn main() -> std::io::Result<()> {
    let mut out = stdout().lock();
    writeln!(
        out,
        "ns for each item, best of {ROUNDS} rounds; in brackets GB/s of the bytes that are read\n"
    )?;
    writeln!(
        out,
        "{:<18}{:>7}{:>7}{:>16}{:>17}{:>7}{:>17}",
        "batches of 512", "bytes", "text", "validate", "to_protobuf", "times", "from_protobuf"
    )?;
    for (name, signal, text) in [
        ("spans", Signal::Traces, traces()),
        ("spans, spaced", Signal::Traces, spaced(&traces())),
        ("log records", Signal::Logs, logs()),
        ("data points", Signal::Metrics, metrics()),
        ("histogram points", Signal::Metrics, histograms()),
    ] {
        let protobuf = read(signal, &text);
        let limits = Limits::default();
        let validated = measure(|| validate(signal, &protobuf, &limits).map_or(0, |sum| sum.items));
        let to = measure(|| read(signal, &text).len());
        let from = measure(|| {
            let mut out = Vec::with_capacity(text.len());
            let written = from_protobuf(signal, &protobuf, &mut out);
            written.map_or(0, |()| out.len())
        });
        let speed = |bytes: usize, ns: f64| (bytes / BATCH) as f64 / ns;
        writeln!(
            out,
            "{name:<18}{:>7}{:>7}{validated:>9.1} ({:>4.1}){to:>10.1} ({:>4.1}){:>7.2}{from:>10.1} ({:>4.1})",
            protobuf.len() / BATCH,
            text.len() / BATCH,
            speed(protobuf.len(), validated),
            speed(text.len(), to),
            to / validated,
            speed(protobuf.len(), from),
        )?;
    }
    Ok(())
}

fn read(signal: Signal, text: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let limits = Limits::default();
    let read = to_protobuf(signal, text, &limits, InvalidUtf8::Replace, &mut out);
    read.map_or_else(|_| Vec::new(), |_| out)
}

/// The spans of the other bench, in JSON.
fn traces() -> Vec<u8> {
    let request = request(BATCH, |out, number| span(out, number, 8));
    let mut text = Vec::new();
    let written = from_protobuf(Signal::Traces, &request, &mut text);
    written.map_or_else(|_| Vec::new(), |()| text)
}

/// The same text with the spaces that Python writes.
fn spaced(text: &[u8]) -> Vec<u8> {
    let text = String::from_utf8_lossy(text);
    text.replace("\":", "\": ")
        .replace(",\"", ", \"")
        .replace(",{", ", {")
        .into_bytes()
}

fn logs() -> Vec<u8> {
    let record = |number: usize| {
        format!(
            r#"{{"timeUnixNano":"17637984{number:011}","observedTimeUnixNano":"17637984{number:011}","severityNumber":9,"severityText":"INFO","body":{{"stringValue":"order {number} of cart 7f3c9a52-2f1b was paid with card in 129 ms"}},"attributes":[{{"key":"http.request.method","value":{{"stringValue":"POST"}}}},{{"key":"http.response.status_code","value":{{"intValue":"200"}}}},{{"key":"thread.name","value":{{"stringValue":"http-nio-8080-exec-7"}}}},{{"key":"code.function.name","value":{{"stringValue":"com.example.shop.checkout.OrderService.pay"}}}}],"droppedAttributesCount":0,"traceId":"0af7651916cd43dd8448eb2{number:09}","spanId":"b7ad6b7{number:09}","flags":1}}"#
        )
    };
    let records: Vec<String> = (0..BATCH).map(record).collect();
    let records = records.join(",");
    format!(r#"{{"resourceLogs":[{{"resource":{{}},"scopeLogs":[{{"scope":{{"name":"com.example.shop"}},"logRecords":[{records}]}}]}}]}}"#).into_bytes()
}

fn metrics() -> Vec<u8> {
    let point = |number: usize| {
        format!(
            r#"{{"attributes":[{{"key":"http.route","value":{{"stringValue":"/api/v1/carts/{number}"}}}},{{"key":"http.request.method","value":{{"stringValue":"GET"}}}},{{"key":"http.response.status_code","value":{{"intValue":"200"}}}}],"startTimeUnixNano":"1763798400000000000","timeUnixNano":"17637984{number:011}","asInt":"{number}"}}"#
        )
    };
    one_metric(
        r#""sum":{"aggregationTemporality":2,"isMonotonic":true,"dataPoints":"#,
        point,
    )
}

fn histograms() -> Vec<u8> {
    let point = |number: usize| {
        format!(
            r#"{{"attributes":[{{"key":"http.route","value":{{"stringValue":"/api/v1/carts/{number}"}}}},{{"key":"http.request.method","value":{{"stringValue":"GET"}}}}],"startTimeUnixNano":"1763798400000000000","timeUnixNano":"17637984{number:011}","count":"{number}","sum":{number}.25,"bucketCounts":["0","1","12","345","{number}","7","0","0","0","0","0"],"explicitBounds":[0.005,0.01,0.025,0.05,0.1,0.25,0.5,1,2.5,5],"min":0.0012,"max":4.75}}"#
        )
    };
    one_metric(
        r#""histogram":{"aggregationTemporality":2,"dataPoints":"#,
        point,
    )
}

fn one_metric(data: &str, point: impl Fn(usize) -> String) -> Vec<u8> {
    let points: Vec<String> = (0..BATCH).map(point).collect();
    let points = points.join(",");
    format!(r#"{{"resourceMetrics":[{{"resource":{{}},"scopeMetrics":[{{"scope":{{"name":"http"}},"metrics":[{{"name":"http.server.request.duration","unit":"s",{data}[{points}]}}}}]}}]}}]}}"#).into_bytes()
}

/// Returns the best time of an item in nanoseconds. It is what the code costs on a busy machine, too.
fn measure(mut job: impl FnMut() -> usize) -> f64 {
    let calls = ITEMS / BATCH;
    let mut rounds = [Duration::ZERO; ROUNDS];
    for round in &mut rounds {
        let start = now();
        for _ in 0..calls {
            black_box(job());
        }
        *round = start.elapsed();
    }
    rounds.sort();
    let [best, ..] = rounds;
    best.as_secs_f64() * 1e9 / ITEMS as f64
}

#[expect(clippy::disallowed_types, reason = "real time is what is measured")]
fn now() -> std::time::Instant {
    std::time::Instant::now()
}
