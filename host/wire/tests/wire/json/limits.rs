//! Texts that are made to cost much.

use prost::Message as _;
use spandrel_wire::Signal::{Metrics, Traces};
use spandrel_wire::{Limits, Signal};

use super::{attribute, bad, by_prost, by_serde, good, metric, printed, record, span, transcoded};

/// Returns a value with this many levels around a text.
fn nested(levels: usize, text: &str) -> String {
    let mut value = format!(r#"{{"stringValue":"{text}"}}"#);
    for level in 1..levels {
        value = if level % 2 == 0 {
            format!(r#"{{"arrayValue":{{"values":[{value}]}}}}"#)
        } else {
            format!(r#"{{"kvlistValue":{{"values":[{{"key":"k","value":{value}}}]}}}}"#)
        };
    }
    value
}

/// Values may be as deep as the validator allows, and no deeper.
#[test]
fn values_as_deep_as_the_limit() {
    let limit = usize::try_from(Limits::default().depth).unwrap();
    let bytes = good(Traces, &attribute(&nested(limit, "x")));
    assert_eq!(by_prost(Traces, &bytes), bytes);
    let message = bad(Traces, &attribute(&nested(limit + 1, "x")));
    assert!(
        message.contains("expected at most 32 levels of nested values"),
        "{message}"
    );
    // The last level may be one that is written in a way of its own.
    for level in [
        r#"{"kvlistValue":{"values":[{"key":"k","value":{"intValue":1}}]}}"#,
        "{}",
    ] {
        let text = attribute(&nested(limit, "x").replace(r#"{"stringValue":"x"}"#, level));
        assert_eq!(transcoded(Traces, text.as_bytes()).is_ok(), level == "{}");
    }
}

/// Brackets without end take neither the stack nor much time.
#[test]
fn brackets_without_end() {
    for (open, expected) in [
        ("[", "a list"),
        (r#"{"a":"#, "at most 100 levels"),
        (r#"{"resourceSpans":["#, "at most 100 levels"),
        (r#"{"a":[{"b":["#, "at most 100 levels"),
    ] {
        let text = open.repeat(500_000);
        let message = bad(Traces, &text);
        let is_first = open.starts_with('[');
        assert!(
            message.contains(if is_first { "an object" } else { expected }),
            "{message}"
        );
        assert!(message.len() < 2000);
    }
    let deep = r#"{"arrayValue":{"values":["#.repeat(100_000);
    assert!(bad(Traces, &attribute(&deep)).contains("at most 32 levels"));
}

/// The bytes are bounded by the text, whatever stands in it most often.
#[test]
fn texts_that_grow() {
    let many = |piece: &str| vec![piece; 20_000].join(",");
    for text in [
        metric(&format!(
            r#""histogram":{{"dataPoints":[{{"bucketCounts":[{}]}}]}}"#,
            many("0")
        )),
        metric(&format!(
            r#""histogram":{{"dataPoints":[{{"explicitBounds":[{}]}}]}}"#,
            many("1")
        )),
        metric(&format!(
            r#""gauge":{{"dataPoints":[{}]}}"#,
            many(r#"{"asInt":0}"#)
        )),
        metric(&many(r#""gauge":{"dataPoints":[{}]}"#)),
    ] {
        good(Metrics, &text);
    }
    for text in [
        span(&format!(r#""attributes":[{}]"#, many("{}"))),
        span(&format!(r#""links":[{}]"#, many("null"))),
        span(&many(r#""kind":-1"#)),
        span(&many(r#""flags":1"#)),
        format!(r#"{{"resourceSpans":[{}]}}"#, many("{}")),
    ] {
        good(Traces, &text);
    }
    let cut: Vec<u8> = span(&format!(r#""name":"{}""#, "?".repeat(50_000)))
        .bytes()
        .map(|byte| if byte == b'?' { 0xff } else { byte })
        .collect();
    transcoded(Traces, &cut).unwrap();
}

/// Messages of every length around those where a length takes another byte are as short as prost
/// writes them, at every level, and print the same again.
#[test]
fn lengths_of_every_width() {
    for len in (0..300)
        .chain(900..1200)
        .chain(16_200..16_500)
        .step_by(7)
        .chain([40_000, 2_100_000])
    {
        let text = attribute(&nested(4, &"x".repeat(len)));
        let bytes = good(Traces, &text);
        assert_eq!(bytes, by_serde(Traces, &text), "{len}");
        assert_eq!(printed(Traces, &bytes), text);
        let spaced = text.replace(':', ": ");
        assert_eq!(good(Traces, &spaced), bytes, "{len}");
        let escaped = text.replacen('x', "\\u0078", 1);
        assert_eq!(good(Traces, &escaped), bytes, "{len}");
    }
}

/// Requests whose entries are far smaller or larger than the text lets expect have correct lengths.
#[test]
fn entries_of_unexpected_lengths() {
    let small = r#"{"scopeSpans":[{"spans":[{"name":"a"}]}]}"#;
    let large = format!(
        r#"{{"scopeSpans":[{{"spans":[{{"name":"{}"}}]}},{{}},{{"spans":[{{}}]}}]}}"#,
        "b".repeat(70_000)
    );
    for entries in [
        vec![small; 3000],
        vec![&large, small, &large],
        vec![small, &large, small, small],
        vec![&large; 40],
    ] {
        let text = format!(r#"{{"resourceSpans":[{}]}}"#, entries.join(","));
        assert_eq!(good(Traces, &text), by_serde(Traces, &text));
    }
    // Unknown fields make the text much longer than what becomes of it.
    let text = format!(
        r#"{{"resourceLogs":[{{"new":"{}"}}]}}"#,
        "c".repeat(100_000)
    );
    assert_eq!(good(Signal::Logs, &text), [0x0a, 0]);
    let body = record(&format!(r#""body":{}"#, nested(20, &"d".repeat(3000))));
    assert_eq!(good(Signal::Logs, &body), by_serde(Signal::Logs, &body));
}

/// A wire message of many pieces is put together.
#[test]
fn many_pieces() {
    use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value::Value};
    let value = |value| KeyValue {
        value: Some(AnyValue { value: Some(value) }),
        ..KeyValue::default()
    };
    let mut attribute = value(Value::IntValue(1)).encode_to_vec();
    attribute.extend(value(Value::StringValue("last".into())).encode_to_vec());
    let mut bytes = vec![0x4a, u8::try_from(attribute.len()).unwrap()];
    bytes.extend(&attribute);
    bytes.extend([0x2a, 1, b'n', 0x4a, 0]);
    for key in [0x12, 0x12, 0x0a] {
        bytes.splice(0..0, [key, u8::try_from(bytes.len()).unwrap()]);
    }
    let expected = span(r#""name":"n","attributes":[{"value":{"stringValue":"last"}},{}]"#);
    assert_eq!(printed(Traces, &bytes), expected);
}
