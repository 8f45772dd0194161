//! Arbitrary requests of spans and log records.

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{
    AnyValue, ArrayValue, EntityRef, InstrumentationScope, KeyValue, KeyValueList,
};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::span::{Event, Link};
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status};

use crate::dice::Dice;

pub(crate) fn traces(dice: &mut Dice) -> ExportTraceServiceRequest {
    ExportTraceServiceRequest {
        resource_spans: dice.few(3, |dice| ResourceSpans {
            resource: dice.some(resource),
            scope_spans: dice.few(3, |dice| ScopeSpans {
                scope: dice.some(scope),
                spans: dice.few(5, span),
                schema_url: dice.text(),
            }),
            schema_url: dice.text(),
        }),
    }
}

pub(crate) fn logs(dice: &mut Dice) -> ExportLogsServiceRequest {
    ExportLogsServiceRequest {
        resource_logs: dice.few(3, |dice| ResourceLogs {
            resource: dice.some(resource),
            scope_logs: dice.few(3, |dice| ScopeLogs {
                scope: dice.some(scope),
                log_records: dice.few(5, record),
                schema_url: dice.text(),
            }),
            schema_url: dice.text(),
        }),
    }
}

pub(crate) fn span(dice: &mut Dice) -> Span {
    Span {
        trace_id: id(dice, 16),
        span_id: id(dice, 8),
        trace_state: dice.text(),
        parent_span_id: id(dice, 8),
        flags: small(dice),
        name: dice.text(),
        kind: signed(dice),
        start_time_unix_nano: dice.word(),
        end_time_unix_nano: dice.word(),
        attributes: attributes(dice),
        dropped_attributes_count: small(dice),
        events: dice.list(2, |dice| Event {
            time_unix_nano: dice.word(),
            name: dice.text(),
            attributes: attributes(dice),
            dropped_attributes_count: small(dice),
        }),
        dropped_events_count: small(dice),
        links: dice.list(2, |dice| Link {
            trace_id: id(dice, 16),
            span_id: id(dice, 8),
            trace_state: dice.text(),
            attributes: attributes(dice),
            dropped_attributes_count: small(dice),
            flags: small(dice),
        }),
        dropped_links_count: small(dice),
        status: dice.some(status),
    }
}

fn record(dice: &mut Dice) -> LogRecord {
    LogRecord {
        time_unix_nano: dice.word(),
        observed_time_unix_nano: dice.word(),
        severity_number: signed(dice),
        severity_text: dice.text(),
        body: dice.some(|dice| value(dice, 0)),
        attributes: attributes(dice),
        dropped_attributes_count: small(dice),
        flags: small(dice),
        trace_id: id(dice, 16),
        span_id: id(dice, 8),
        event_name: dice.text(),
    }
}

pub(crate) fn status(dice: &mut Dice) -> Status {
    Status {
        message: dice.text(),
        code: i32::from(dice.byte() % 4),
    }
}

pub(crate) fn resource(dice: &mut Dice) -> Resource {
    Resource {
        attributes: attributes(dice),
        dropped_attributes_count: small(dice),
        entity_refs: dice.list(1, |dice| EntityRef {
            schema_url: dice.text(),
            r#type: dice.text(),
            id_keys: dice.list(2, Dice::text),
            description_keys: dice.list(2, Dice::text),
        }),
    }
}

pub(crate) fn scope(dice: &mut Dice) -> InstrumentationScope {
    InstrumentationScope {
        name: dice.text(),
        version: dice.text(),
        attributes: attributes(dice),
        dropped_attributes_count: small(dice),
    }
}

pub(crate) fn attributes(dice: &mut Dice) -> Vec<KeyValue> {
    dice.list(4, key_value)
}

pub(crate) fn key_value(dice: &mut Dice) -> KeyValue {
    nested_key_value(dice, 0)
}

fn nested_key_value(dice: &mut Dice, depth: u32) -> KeyValue {
    KeyValue {
        key: dice.key(),
        value: dice.some(|dice| value(dice, depth)),
        key_strindex: if dice.once_in(20) { signed(dice) } else { 0 },
    }
}

pub(crate) fn value(dice: &mut Dice, depth: u32) -> AnyValue {
    let kinds = if depth < 4 { 9 } else { 6 };
    let value = match dice.roll(kinds) {
        0 | 6 => Some(Value::StringValue(dice.text())),
        1 => Some(Value::BoolValue(dice.once_in(2))),
        2 => Some(Value::IntValue(dice.word().cast_signed())),
        3 => Some(Value::DoubleValue(f64::from(signed(dice)) / 8.0)),
        4 => Some(Value::BytesValue(dice.bytes(20))),
        5 => None,
        7 => Some(Value::ArrayValue(ArrayValue {
            values: dice.list(3, |dice| value_at(dice, depth + 1)),
        })),
        _ => Some(Value::KvlistValue(KeyValueList {
            values: dice.list(3, |dice| nested_key_value(dice, depth + 1)),
        })),
    };
    AnyValue { value }
}

fn value_at(dice: &mut Dice, depth: u32) -> AnyValue {
    value(dice, depth)
}

/// Returns an id of this many bytes, one of a few, or none.
pub(crate) fn id(dice: &mut Dice, len: u8) -> Vec<u8> {
    match dice.byte() % 8 {
        0 => Vec::new(),
        seed @ 1..5 => vec![seed; usize::from(len)],
        _ => (0..len).map(|_| dice.byte()).collect(),
    }
}

pub(crate) fn small(dice: &mut Dice) -> u32 {
    u32::try_from(dice.word() & 0xffff_ffff).unwrap()
}

pub(crate) fn signed(dice: &mut Dice) -> i32 {
    small(dice).cast_signed()
}
