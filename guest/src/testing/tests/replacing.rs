//! Spans that are made from a received one, compared with what `opentelemetry-proto` reads.

use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::common::v1::{AnyValue, ArrayValue, KeyValue, KeyValueList};
use opentelemetry_proto::tonic::trace::v1 as proto;
use opentelemetry_proto::tonic::trace::v1::span::{Event as AnEvent, Link as ALink};
use proptest::prelude::*;
use prost::Message;

use super::{Script, host};
use crate::prelude::*;
use crate::testing::TestBatch;
use crate::testing::TestHost;
use crate::wire;

fn any_value() -> impl Strategy<Value = AnyValue> {
    let scalar = prop_oneof![
        Just(None),
        ".{0,9}".prop_map(|text| Some(Any::StringValue(text))),
        any::<bool>().prop_map(|value| Some(Any::BoolValue(value))),
        any::<i64>().prop_map(|value| Some(Any::IntValue(value))),
        (-1e9..1e9).prop_map(|value| Some(Any::DoubleValue(value))),
        any::<Vec<u8>>().prop_map(|value| Some(Any::BytesValue(value))),
    ];
    let scalar = scalar.prop_map(|value| AnyValue { value });
    scalar.prop_recursive(3, 8, 3, |inner| {
        let list = proptest::collection::vec(inner.clone(), 0..3);
        let map = proptest::collection::vec(("[a-c]", inner), 0..3);
        prop_oneof![
            list.prop_map(|values| Any::ArrayValue(ArrayValue { values })),
            map.prop_map(|entries| Any::KvlistValue(KeyValueList {
                values: entries.into_iter().map(key_value).collect(),
            })),
        ]
        .prop_map(|value| AnyValue { value: Some(value) })
    })
}

fn key_value((key, value): (String, AnyValue)) -> KeyValue {
    KeyValue {
        key,
        value: Some(value),
        ..KeyValue::default()
    }
}

fn attributes() -> impl Strategy<Value = Vec<KeyValue>> {
    let attribute = ("[a-d]{1,2}", any_value()).prop_map(key_value);
    proptest::collection::vec(attribute, 0..5)
}

fn event() -> impl Strategy<Value = AnEvent> {
    (any::<u64>(), ".{0,9}", attributes(), any::<u32>()).prop_map(
        |(time_unix_nano, name, attributes, dropped_attributes_count)| AnEvent {
            time_unix_nano,
            name,
            attributes,
            dropped_attributes_count,
        },
    )
}

fn link() -> impl Strategy<Value = ALink> {
    (
        any::<([u8; 16], [u8; 8], u32, u32)>(),
        ".{0,9}",
        attributes(),
    )
        .prop_map(
            |((trace_id, span_id, dropped_attributes_count, flags), trace_state, attributes)| {
                ALink {
                    trace_id: trace_id.to_vec(),
                    span_id: span_id.to_vec(),
                    trace_state,
                    attributes,
                    dropped_attributes_count,
                    flags,
                }
            },
        )
}

fn span() -> impl Strategy<Value = proto::Span> {
    let ids = any::<([u8; 16], [u8; 8], Option<[u8; 8]>)>();
    let numbers = any::<(u64, u64, u32, u32, u32, u32)>();
    let texts = (
        ".{0,9}",
        ".{0,9}",
        proptest::option::of((".{0,9}", 0..3_i32)),
    );
    let lists = (
        attributes(),
        proptest::collection::vec(event(), 0..3),
        proptest::collection::vec(link(), 0..3),
    );
    (ids, numbers, texts, lists, 0..6_i32).prop_map(|(ids, numbers, texts, lists, kind)| {
        proto::Span {
            trace_id: ids.0.to_vec(),
            span_id: ids.1.to_vec(),
            parent_span_id: ids.2.map(Vec::from).unwrap_or_default(),
            trace_state: texts.0,
            name: texts.1,
            kind,
            start_time_unix_nano: numbers.0,
            end_time_unix_nano: numbers.1,
            dropped_attributes_count: numbers.2,
            dropped_events_count: numbers.3,
            dropped_links_count: numbers.4,
            flags: numbers.5,
            status: texts
                .2
                .map(|(message, code)| proto::Status { message, code }),
            attributes: lists.0,
            events: lists.1,
            links: lists.2,
        }
    })
}

/// An unknown field, as a later OTLP may have it.
const UNKNOWN: &[u8] = b"\xa2\x06\x05later";

fn encoded(span: &proto::Span) -> Vec<u8> {
    [&span.encode_to_vec()[..], UNKNOWN].concat()
}

fn decoded(span: &NewSpan) -> proto::Span {
    assert!(
        span.bytes()
            .windows(UNKNOWN.len())
            .any(|part| part == UNKNOWN)
    );
    proto::Span::decode(span.bytes()).unwrap()
}

fn upsert(attributes: &mut Vec<KeyValue>, key: &str, text: &str) {
    attributes.retain(|attribute| attribute.key != key);
    let value = Some(Any::StringValue(text.to_owned()));
    attributes.push(key_value((key.to_owned(), AnyValue { value })));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// A copy of a received span is equal to it: nothing is lost, unknown fields included.
    #[test]
    fn a_copy_is_the_original(span in span()) {
        let bytes = encoded(&span);
        let copy = NewSpan::from(wire::Span::new(&bytes));
        prop_assert_eq!(copy.bytes(), &*bytes);
        prop_assert_eq!(decoded(&copy), span.clone());
        for event in copy.view().events() {
            let same = NewEvent::from(event);
            prop_assert_eq!(same.bytes(), event.bytes());
        }
        let same = copy
            .clone()
            .change_events(|event| Some(event.into()))
            .change_links(|link| Some(link.into()));
        prop_assert_eq!(decoded(&same), span);
    }

    /// A setter replaces the earlier value and changes nothing else.
    #[test]
    fn setters_change_what_they_say(mut span in span(), key in "[a-d]{1,2}") {
        let copy = || NewSpan::from(wire::Span::new(&encoded(&span)));
        let status = Status { code: StatusCode::Ok, message: "" };
        let set = copy()
            .name("renamed")
            .ids([1; 16], [2; 8])
            .parent([3; 8])
            .trace_state("a=1")
            .flags(0x101)
            .kind(SpanKind::Consumer)
            .times(5, 9)
            .status(status)
            .status_message("all well")
            .attribute(&key, "new")
            .event(7, "added")
            .add_link(&NewLink::new([4; 16], [5; 8]).flags(1).trace_state("b=2").attribute("k", 1))
            .change_events(|event| {
                let event = NewEvent::from(event).attribute(&key, "new").time(8);
                Some(event.delete_attribute("none"))
            })
            .change_links(|link| {
                let keeps = link.trace_id() == [4; 16] || link.flags() % 2 == 0;
                keeps.then(|| NewLink::from(link).attribute(&key, "new"))
            });
        let rootless = copy().root().delete_attribute(&key);
        prop_assert!(rootless.view().is_root());
        prop_assert_eq!(rootless.view().attribute(&key), None);

        span.name = "renamed".to_owned();
        (span.trace_id, span.span_id) = (vec![1; 16], vec![2; 8]);
        span.parent_span_id = vec![3; 8];
        span.trace_state = "a=1".to_owned();
        span.flags = 0x101;
        span.kind = 5;
        (span.start_time_unix_nano, span.end_time_unix_nano) = (5, 9);
        span.status = Some(proto::Status { message: "all well".to_owned(), code: 1 });
        upsert(&mut span.attributes, &key, "new");
        span.events.push(AnEvent { name: "added".to_owned(), ..AnEvent::default() });
        for event in &mut span.events {
            event.time_unix_nano = 8;
            upsert(&mut event.attributes, &key, "new");
        }
        let value = Some(AnyValue { value: Some(Any::IntValue(1)) });
        span.links.push(ALink {
            trace_id: vec![4; 16],
            span_id: vec![5; 8],
            flags: 1,
            trace_state: "b=2".to_owned(),
            attributes: vec![KeyValue { key: "k".to_owned(), value, ..KeyValue::default() }],
            ..ALink::default()
        });
        span.links.retain(|link| link.trace_id == [4; 16] || link.flags % 2 == 0);
        for link in &mut span.links {
            upsert(&mut link.attributes, &key, "new");
        }
        prop_assert_eq!(decoded(&set), span);
    }
}

/// A plugin can read and write what edits cannot reach: the attributes of events and links. The
/// rest of the span passes through the real splice unchanged, also if the plugin got a projection.
#[test]
fn a_replaced_span_keeps_everything() {
    struct Redact;
    impl Script for Redact {
        fn process(_: &mut Vec<Held>, batch: &mut Batch) {
            for span in batch.spans() {
                let has_trace = |event: Event<'_>| event.attribute("stacktrace").is_some();
                if span.events().any(has_trace) {
                    let shorter = |event: Event<'_>| {
                        Some(NewEvent::from(event).delete_attribute("stacktrace"))
                    };
                    span.replace(&span.to_new().change_events(shorter));
                    span.set_attribute("after", true);
                }
            }
        }
    }
    let came = TestBatch::new().service("shop").span("GET /", |span| {
        span.kind(SpanKind::Server)
            .error("boom")
            .flags(0x301)
            .trace_state("vendor=1")
            .attribute("http.route", "/")
            .event_with("exception", |event| {
                let map = NewMap::new()
                    .entry("line", 7)
                    .entry("line", 8)
                    .entry("in", ["a", "b"]);
                event
                    .attribute("stacktrace", "at x")
                    .attribute("where", map)
            })
            .event("retry")
            .link(&NewLink::new([8; 16], [9; 8]).attribute("why", "batch"))
    });
    let mut host = host::<Redact>();
    for _ in 0..3 {
        let outcome = host.process(&came);
        let after = outcome.span("GET /").after();
        assert_eq!(after.flags(), 0x301);
        assert_eq!(after.trace_state(), "vendor=1");
        assert_eq!(after.kind(), SpanKind::Server);
        assert_eq!(after.status().message, "boom");
        assert_eq!(after.duration(), Duration::from_millis(10));
        assert_eq!(after.attribute_str("http.route"), Some("/"));
        assert_eq!(after.attribute("after"), Some(Value::Bool(true)));
        let events: Vec<_> = after.events().collect();
        assert_eq!(
            events.iter().map(Event::name).collect::<Vec<_>>(),
            ["exception", "retry"]
        );
        assert_eq!(events[0].attribute("stacktrace"), None);
        let map = events[0]
            .attribute("where")
            .and_then(Value::as_key_values)
            .unwrap();
        assert_eq!(map.get("line"), Some(Value::Int(8)));
        assert_eq!(map.get("in").and_then(Value::as_array).unwrap().count(), 2);
        let link = after.links().next().unwrap();
        assert_eq!(
            (link.trace_id(), link.span_id()),
            (&[8; 16][..], &[9; 8][..])
        );
        assert_eq!(link.attribute("why"), Some(Value::Str("batch")));
    }
}

/// The message of a status can be changed without its code.
#[test]
fn status_messages_are_editable() {
    struct Reword;
    impl Script for Reword {
        fn process(_: &mut Vec<Held>, batch: &mut Batch) {
            for span in batch.spans() {
                span.set_status_message("redacted");
            }
        }
    }
    let came = TestBatch::new()
        .service("shop")
        .span("failed", |span| span.error("password is hunter2"))
        .span("fine", |span| span);
    let mut host: TestHost<_> = host::<Reword>();
    for _ in 0..3 {
        let outcome = host.process(&came);
        for (name, code) in [("failed", StatusCode::Error), ("fine", StatusCode::Unset)] {
            let message = "redacted";
            let status = Status { code, message };
            assert_eq!(outcome.span(name).after().status(), status);
        }
    }
}
