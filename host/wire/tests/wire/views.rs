//! Views read what prost decodes.

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value};
use proptest::prelude::*;
use prost::Message;
use spandrel_wire::{
    Attribute, Attributes, FieldOffsets, Span, SpanKind, Status, StatusCode, Traces, Value,
    write_bytes, write_fixed32, write_fixed64, write_key_value, write_nested, write_status,
    write_text, write_varint_field,
};

use crate::cases::{cases, dice};
use crate::mess::mess_up;
use crate::requests::traces;

proptest! {
    #![proptest_config(cases())]

    /// Every field of every span, resource and scope reads as prost decodes it, also where the
    /// bytes are unusual.
    #[test]
    fn read_as_prost_does(mut dice in dice(3000)) {
        let mut mess = dice.fork(500);
        let request = traces(&mut dice).encode_to_vec();
        let request = mess_up(&mut mess, &request);
        let decoded = ExportTraceServiceRequest::decode(&request[..]).unwrap();
        let mut placed = Traces::new(&request).spans();
        let (mut item, mut scope_index) = (0, 0);
        let mut offsets = FieldOffsets::default();
        for (resource_index, entry) in (0..).zip(&decoded.resource_spans) {
            for scope in &entry.scope_spans {
                for span in &scope.spans {
                    let view = placed.next().unwrap();
                    prop_assert_eq!(view.index, item);
                    prop_assert_eq!(view.resource_index, resource_index);
                    prop_assert_eq!(view.scope_index, scope_index);
                    prop_assert_eq!(view.resource_spans.schema_url(), &entry.schema_url);
                    prop_assert_eq!(view.scope_spans.schema_url(), &scope.schema_url);
                    let resource = entry.resource.clone().unwrap_or_default();
                    same_attributes(view.resource_spans.resource().attributes(), &resource.attributes);
                    let scope = scope.scope.clone().unwrap_or_default();
                    prop_assert_eq!(view.scope_spans.scope().name(), &scope.name);
                    prop_assert_eq!(view.scope_spans.scope().version(), &scope.version);
                    same_attributes(view.scope_spans.scope().attributes(), &scope.attributes);
                    same_span(view.span, span);
                    same_parts(&mut offsets, view.span);
                    item += 1;
                }
                scope_index += 1;
            }
        }
        prop_assert!(placed.next().is_none());
        let nested = Traces::new(&request);
        let spans = nested.resource_spans().flat_map(|entry| {
            entry.scope_spans().flat_map(|scope| scope.spans())
        });
        prop_assert_eq!(spans.count(), usize::try_from(item).unwrap());
    }

    /// A value that is written again reads the same.
    #[test]
    fn values_are_written_as_read(mut dice in dice(300)) {
        let value = crate::requests::key_value(&mut dice);
        let bytes = value.encode_to_vec();
        let view = Attribute::new(&bytes);
        let mut again = Vec::new();
        write_key_value(&mut again, view.key, view.value);
        let again = KeyValue::decode(&again[..]).unwrap();
        prop_assert_eq!(again.key, value.key);
        let value = value.value.unwrap_or_default();
        prop_assert_eq!(again.value.unwrap_or_default(), value);
    }
}

/// Checks that each field reads the same in its part of the span as in the whole.
fn same_parts(offsets: &mut FieldOffsets, span: Span<'_>) {
    assert!(offsets.read(span));
    let part = |field| offsets.part(span, field);
    assert_eq!(part(1).trace_id(), span.trace_id());
    assert_eq!(part(2).span_id(), span.span_id());
    assert_eq!(part(3).trace_state(), span.trace_state());
    assert_eq!(part(4).parent_span_id(), span.parent_span_id());
    assert_eq!(part(4).is_root(), span.is_root());
    assert_eq!(part(5).name(), span.name());
    assert_eq!(part(6).kind(), span.kind());
    assert_eq!(part(7).start_time_unix_nano(), span.start_time_unix_nano());
    assert_eq!(part(8).end_time_unix_nano(), span.end_time_unix_nano());
    assert!(part(9).attributes().eq(span.attributes()));
    assert_eq!(
        part(10).dropped_attributes_count(),
        span.dropped_attributes_count()
    );
    assert!(part(11).events().eq(span.events()));
    assert!(part(13).links().eq(span.links()));
    assert_eq!(part(15).status(), span.status());
    assert_eq!(part(16).flags(), span.flags());
}

fn same_span(view: Span<'_>, span: &opentelemetry_proto::tonic::trace::v1::Span) {
    assert_eq!(view.trace_id(), span.trace_id);
    assert_eq!(view.span_id(), span.span_id);
    assert_eq!(view.trace_state(), span.trace_state);
    assert_eq!(view.parent_span_id(), span.parent_span_id);
    assert_eq!(view.flags(), span.flags);
    assert_eq!(view.name(), span.name);
    let kind = if (1..=5).contains(&span.kind) {
        span.kind
    } else {
        0
    };
    assert_eq!(i32::try_from(view.kind().number()).unwrap(), kind);
    assert_eq!(view.start_time_unix_nano(), span.start_time_unix_nano);
    assert_eq!(view.end_time_unix_nano(), span.end_time_unix_nano);
    assert_eq!(
        view.dropped_attributes_count(),
        span.dropped_attributes_count
    );
    let status = span.status.clone().unwrap_or_default();
    assert_eq!(view.status().message, status.message);
    assert_eq!(view.is_error(), status.code == 2);
    same_attributes(view.attributes(), &span.attributes);
    assert_eq!(view.events().count(), span.events.len());
    for (view, event) in view.events().zip(&span.events) {
        assert_eq!(view.name(), event.name);
        assert_eq!(view.time_unix_nano(), event.time_unix_nano);
        assert_eq!(
            view.dropped_attributes_count(),
            event.dropped_attributes_count
        );
        same_attributes(view.attributes(), &event.attributes);
    }
    assert_eq!(view.links().count(), span.links.len());
    for (view, link) in view.links().zip(&span.links) {
        assert_eq!(view.trace_id(), link.trace_id);
        assert_eq!(view.span_id(), link.span_id);
        assert_eq!(view.trace_state(), link.trace_state);
        assert_eq!(view.flags(), link.flags);
        assert_eq!(
            view.dropped_attributes_count(),
            link.dropped_attributes_count
        );
        same_attributes(view.attributes(), &link.attributes);
    }
}

fn same_attributes(view: Attributes<'_>, attributes: &[KeyValue]) {
    assert_eq!(view.count(), attributes.len());
    for (read, attribute) in view.zip(attributes) {
        assert_eq!(read.key, attribute.key);
        same_value(read.value, attribute.value.as_ref());
        let first = attributes
            .iter()
            .find(|other| other.key == attribute.key)
            .unwrap();
        same_value(view.get(&attribute.key).unwrap(), first.value.as_ref());
    }
    assert_eq!(view.get("no such key"), None);
}

fn same_value(view: Value<'_>, value: Option<&AnyValue>) {
    use any_value::Value as Decoded;
    let value = value.and_then(|value| value.value.as_ref());
    match (view, value) {
        (Value::Empty, None | Some(Decoded::StringValueStrindex(_))) => {}
        (Value::Str(view), Some(Decoded::StringValue(text))) => assert_eq!(view, text),
        (Value::Bool(view), Some(Decoded::BoolValue(value))) => assert_eq!(view, *value),
        (Value::Int(view), Some(Decoded::IntValue(value))) => assert_eq!(view, *value),
        (Value::Double(view), Some(Decoded::DoubleValue(value))) => {
            assert_eq!(view.to_bits(), value.to_bits());
        }
        (Value::Bytes(view), Some(Decoded::BytesValue(bytes))) => assert_eq!(view, bytes),
        (Value::Array(view), Some(Decoded::ArrayValue(list))) => {
            assert_eq!(view.count(), list.values.len());
            for (view, value) in view.zip(&list.values) {
                same_value(view, Some(value));
            }
        }
        (Value::KeyValues(view), Some(Decoded::KvlistValue(list))) => {
            same_attributes(view, &list.values);
        }
        (view, value) => panic!("{view:?} is not {value:?}"),
    }
}

/// Comparisons with attribute values give the result that they are meant to give.
#[test]
fn comparisons_read_well() {
    let mut span = Vec::new();
    write_text(&mut span, 5, "GET /healthz");
    write_nested(&mut span, 9, |out| {
        write_key_value(out, "http.route", "/healthz")
    });
    write_nested(&mut span, 9, |out| {
        write_key_value(out, "http.status_code", 200)
    });
    let span = Span::new(&span);
    assert!(span.attribute("http.route") == Some("/healthz".into()));
    assert_eq!(span.attribute("http.status_code"), Some(200.into()));
    assert!(
        span.attribute("http.route")
            .is_some_and(|route| route == "/healthz")
    );
    assert_eq!(span.attribute_str("http.route"), Some("/healthz"));
    assert_eq!(span.attribute_str("http.status_code"), None);
    assert!(span.is_root());
    assert!(!span.is_error());
}

/// Decoders read what the writers write.
#[test]
fn written_pieces_decode() {
    let mut bytes = Vec::new();
    let status = Status {
        code: StatusCode::Error,
        message: "no such cart",
    };
    write_nested(&mut bytes, 15, |out| write_status(out, status));
    write_nested(&mut bytes, 9, |out| {
        write_key_value(out, "long", &*"x".repeat(20_000))
    });
    write_bytes(&mut bytes, 1, &[7; 16]);
    write_varint_field(&mut bytes, 6, u64::from(SpanKind::Client.number()));
    write_fixed64(&mut bytes, 7, u64::MAX);
    write_fixed32(&mut bytes, 16, 0x101);
    let span = opentelemetry_proto::tonic::trace::v1::Span::decode(&bytes[..]).unwrap();
    assert_eq!(span.status.as_ref().unwrap().message, "no such cart");
    assert_eq!(span.attributes.len(), 1);
    same_span(Span::new(&bytes), &span);
    assert_eq!(Span::new(&bytes).kind(), SpanKind::Client);
    assert_eq!(Span::new(&bytes).status(), status);
}

/// If a key stands more than once, or behind its value, plugins read what every decoder reads. So a
/// sender cannot show them another key or another value.
#[test]
fn disguised_attributes_are_read_as_decoders_do() {
    // This has two keys, and the length of the value in more bytes than it needs.
    let mut two_keys = b"\x0a\x01x\x12\x80\x00\x0a\x08password\x12\x73".to_vec();
    two_keys.extend(b"\x0a\x71");
    two_keys.extend([b's'; 113]);
    // This has the value first, with bytes in it that look like a value behind a key.
    let value_first = b"\x12\x09\x0a\x07A\x12\x09\x0a\x07xy\x0a\x03env".to_vec();
    for key_value in [two_keys, value_first] {
        let decoded = KeyValue::decode(&*key_value).expect("valid");
        let any_value::Value::StringValue(text) = decoded
            .value
            .and_then(|value| value.value)
            .expect("a value")
        else {
            panic!("a text");
        };
        let mut span = Vec::new();
        write_bytes(&mut span, 9, &key_value);
        let span = Span::new(&span);
        assert_eq!(span.attribute_str(&decoded.key), Some(text.as_str()));
        assert_eq!(span.attribute("x"), None);
    }
}
