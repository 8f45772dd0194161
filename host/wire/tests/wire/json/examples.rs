//! Documents of the form of the examples in the repository of the protocol.

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use prost::Message as _;
use spandrel_wire::{Signal, count};

use super::{by_prost, by_serde, good, printed};

const EXAMPLES: [(Signal, &str, usize); 4] = [
    (Signal::Traces, include_str!("traces.json"), 1),
    (Signal::Metrics, include_str!("metrics.json"), 4),
    (Signal::Logs, include_str!("logs.json"), 1),
    (Signal::Logs, include_str!("events.json"), 1),
];

/// The examples are read as serde reads them, and come back the same.
#[test]
fn the_examples_of_the_protocol() {
    for (signal, text, items) in EXAMPLES {
        let bytes = good(signal, text);
        assert_eq!(count(signal, &bytes), items);
        assert_eq!(by_prost(signal, &bytes), by_serde(signal, text));
        assert_eq!(good(signal, &printed(signal, &bytes)), bytes);
    }
}

/// The fields of an example have the values that stand there.
#[test]
fn the_values_of_an_example() {
    let request = good(Signal::Traces, EXAMPLES[0].1);
    let request = ExportTraceServiceRequest::decode(&request[..]).unwrap();
    let span = &request.resource_spans[0].scope_spans[0].spans[0];
    assert_eq!(span.trace_id[..4], [0x0a, 0xf7, 0x65, 0x19]);
    assert_eq!(span.name, "GET /carts/{id}");
    assert_eq!(span.end_time_unix_nano, 1_763_798_401_000_000_000);
    let request = good(Signal::Logs, EXAMPLES[2].1);
    let request = ExportLogsServiceRequest::decode(&request[..]).unwrap();
    let record = &request.resource_logs[0].scope_logs[0].log_records[0];
    assert_eq!(record.severity_number, 10);
    assert_eq!(record.attributes.len(), 6);
}
