//! Texts with the same meaning, and texts that are refused, with the words of the error.

use spandrel_wire::Signal::{Logs, Metrics, Traces};
use spandrel_wire::json::{self, JsonError};
use spandrel_wire::{InvalidUtf8, Limits, PartialSuccess, Signal};

use super::{attribute, bad, by_prost, good, metric, printed, record, span, transcoded};

const SPAN: &str = "resourceSpans[0].scopeSpans[0].spans[0]";

/// Checks that two texts have the same meaning.
fn same(text: &str, plain: &str) {
    let [read, expected] = [text, plain].map(|text| by_prost(Traces, &good(Traces, text)));
    assert_eq!(read, expected, "{text}");
}

/// Pairs of texts have the same meaning, whatever is there or not.
#[test]
fn the_same_fields() {
    for (text, plain) in [
        // `null` is a field that is not there.
        (
            span(r#""name":null,"attributes":null,"status":null,"kind":null,"traceId":null"#),
            span(""),
        ),
        (r#"{"resourceSpans":null}"#.into(), "{}".into()),
        ("null".into(), "{}".into()),
        // In a list it is an empty member.
        (
            attribute(r#"{"arrayValue":{"values":[null,{}]}}"#),
            attribute(r#"{"arrayValue":{"values":[{},{}]}}"#),
        ),
        (span(r#""events":[null]"#), span(r#""events":[{}]"#)),
        // Unknown keys are ignored, whatever they have.
        (
            span(r#""new":{"a":[1,-2.5e3,"x\"]}",true,false,null,{}],"b":[[]]},"name":"n","":0"#),
            span(r#""name":"n""#),
        ),
        // The last value counts, also if it is the default.
        (span(r#""name":"a","name":"b""#), span(r#""name":"b""#)),
        (
            attribute(r#"{"stringValue":"a","intValue":"7"}"#),
            attribute(r#"{"intValue":7}"#),
        ),
        (
            attribute(r#"{"intValue":"7","stringValue":null}"#),
            attribute(r#"{"intValue":7}"#),
        ),
        // Default values are not written.
        (
            span(
                r#""kind":0,"name":"","droppedLinksCount":0,"flags":0,"traceId":"","parentSpanId":"","startTimeUnixNano":"0","attributes":[]"#,
            ),
            span(""),
        ),
    ] {
        same(&text, &plain);
    }
}

/// Pairs of texts have the same meaning, with values in other forms.
#[test]
fn the_same_values() {
    for (text, plain) in [
        // Numbers in other forms.
        (
            span(r#""kind":2.0,"flags":"257","startTimeUnixNano":1e3"#),
            span(r#""kind":2,"flags":257,"startTimeUnixNano":"1000""#),
        ),
        (
            attribute(r#"{"intValue":-0}"#),
            attribute(r#"{"intValue":"0"}"#),
        ),
        (
            attribute(r#"{"doubleValue":"1.5"}"#),
            attribute(r#"{"doubleValue":1.5}"#),
        ),
        (
            attribute(r#"{"doubleValue":"+Inf"}"#),
            attribute(r#"{"doubleValue":"Infinity"}"#),
        ),
        (
            attribute(r#"{"doubleValue":"nan"}"#),
            attribute(r#"{"doubleValue":"NaN"}"#),
        ),
        // Enums by name.
        (
            span(r#""kind":"SPAN_KIND_CONSUMER","status":{"code":"STATUS_CODE_ERROR"}"#),
            span(r#""kind":5,"status":{"code":2}"#),
        ),
        // Ids in any case.
        (
            span(r#""spanId":"00F067AA0BA902b7""#),
            span(r#""spanId":"00f067aa0ba902b7""#),
        ),
        // Base64 in its forms, and with the escape that PHP writes.
        (
            attribute(r#"{"bytesValue":"+/8"}"#),
            attribute(r#"{"bytesValue":"-_8="}"#),
        ),
        (
            attribute(r#"{"bytesValue":"+\/8="}"#),
            attribute(r#"{"bytesValue":"-_8="}"#),
        ),
        // Escapes, also in keys.
        (
            span(r#""n\u0061me":"\u00fc\ud83d\ude00""#),
            span(r#""name":"ü😀""#),
        ),
        (
            span(r#""name":"cut \ud83d""#),
            span("\"name\":\"cut \u{fffd}\""),
        ),
        // White space, and a byte order mark.
        (
            "\u{feff} {\r\n\t\"resourceSpans\" : [ ] } \n".into(),
            "{}".into(),
        ),
    ] {
        same(&text, &plain);
    }
}

/// A default value that replaces another is written.
#[test]
fn a_default_replaces_another() {
    let text = span(
        r#""kind":2,"kind":0,"name":"n","name":"","flags":1,"flags":0,"endTimeUnixNano":1,"endTimeUnixNano":0,"spanId":"00f067aa0ba902b7","spanId":"""#,
    );
    let empty = by_prost(Traces, &good(Traces, &span("")));
    assert_eq!(by_prost(Traces, &good(Traces, &text)), empty);
}

/// Values that are not there and values that are the default are told apart where protobuf does.
#[test]
fn zeros_that_are_there() {
    for (with, without) in [(r#""sum":0"#, ""), (r#""min":0.0"#, r#""max":0"#)] {
        let [with, without] = [with, without].map(|members| {
            good(
                Metrics,
                &metric(&format!(r#""histogram":{{"dataPoints":[{{{members}}}]}}"#)),
            )
        });
        assert_ne!(with, without);
    }
    assert_ne!(
        good(Traces, &attribute(r#"{"intValue":0}"#)),
        good(Traces, &attribute("{}"))
    );
    assert_ne!(
        good(Traces, &span(r#""status":{}"#)),
        good(Traces, &span(""))
    );
}

/// Errors name the path, what was expected, and the byte.
#[test]
fn errors() {
    let expected = |text: &str, path: &str, words: &str, at: usize| {
        let path = if path.is_empty() {
            String::new()
        } else {
            format!("{path}: ")
        };
        assert_eq!(
            bad(Traces, text),
            format!("{path}expected {words} at byte {at}"),
            "{text}"
        );
    };
    expected("", "", "an object", 0);
    expected("[]", "", "an object", 0);
    expected("{} {}", "", "the end of the text", 3);
    expected("{", "", "a key in quotes", 1);
    expected(r#"{"a":1,}"#, "", "a key in quotes", 7);
    expected(r#"{"a" 1}"#, "", "a colon", 5);
    expected(r#"{"a":tru}"#, "a", "a value", 5);
    expected(r#"{"a":01}"#, "a", "a value", 5);
    expected(
        r#"{"a":[1 2]}"#,
        "a[0]",
        "a comma or the end of the list or object",
        8,
    );
    expected(r#"{"resourceSpans":{}}"#, "resourceSpans", "a list", 17);
    let list = r#"{"resourceSpans":[{},{"scopeSpans":[{},{},{"spans":[{},{"traceId":"12"}]}]}]}"#;
    expected(
        list,
        "resourceSpans[1].scopeSpans[2].spans[1].traceId",
        "32 hexadecimal digits in quotes",
        66,
    );
}

/// Checks the error of a span's members: where it is, and what was expected.
fn wrong(members: &str, path: &str, words: &str) {
    let at = span("").find("}]}]}").unwrap();
    let text = span(members);
    let message = bad(Traces, &text);
    let expected = format!("{SPAN}{path}: expected {words} at byte ");
    assert!(message.starts_with(&expected), "{message}");
    assert!(transcoded(Traces, text.as_bytes()).unwrap_err().offset() > at);
}

/// Errors in the fields of a span name the field.
#[test]
fn errors_of_fields() {
    wrong(
        r#""spanId":"00f067aa0ba902bg""#,
        ".spanId",
        "16 hexadecimal digits in quotes",
    );
    wrong(r#""name":5"#, ".name", "a text in quotes");
    wrong(r#""name":"\x""#, ".name", "an escape that JSON has");
    wrong(
        "\"name\":\"a\nb\"",
        ".name",
        "the rest of a text, without control characters",
    );
    wrong(
        r#""kind":"server""#,
        ".kind",
        "the number or the name of an enum's value",
    );
    wrong(
        r#""kind":3000000000"#,
        ".kind",
        "the number or the name of an enum's value",
    );
    wrong(
        r#""startTimeUnixNano":-1"#,
        ".startTimeUnixNano",
        "an unsigned integer of 64 bits",
    );
    wrong(
        r#""startTimeUnixNano":1.5"#,
        ".startTimeUnixNano",
        "an unsigned integer of 64 bits",
    );
    wrong(
        r#""startTimeUnixNano":"""#,
        ".startTimeUnixNano",
        "an unsigned integer of 64 bits",
    );
    wrong(
        r#""startTimeUnixNano":"18446744073709551616""#,
        ".startTimeUnixNano",
        "an unsigned integer of 64 bits",
    );
    wrong(
        r#""startTimeUnixNano":" 1""#,
        ".startTimeUnixNano",
        "an unsigned integer of 64 bits",
    );
    wrong(
        r#""flags":4294967296"#,
        ".flags",
        "an unsigned integer of 32 bits",
    );
    wrong(r#""status":[]"#, ".status", "an object");
    wrong(r#""attributes":{}"#, ".attributes", "a list");
}

/// Errors in the value of an attribute name its kind.
#[test]
fn errors_of_values() {
    let value = |value: &str| format!(r#""attributes":[{{"key":"k","value":{value}}}]"#);
    let path = ".attributes[0].value";
    wrong(
        &value(r#"{"boolValue":"true"}"#),
        &format!("{path}.boolValue"),
        "true or false",
    );
    wrong(
        &value(r#"{"intValue":9223372036854775808}"#),
        &format!("{path}.intValue"),
        "an integer of 64 bits",
    );
    wrong(
        &value(r#"{"doubleValue":1e999}"#),
        &format!("{path}.doubleValue"),
        "a number in the range of doubles",
    );
    wrong(
        &value(r#"{"doubleValue":NaN}"#),
        &format!("{path}.doubleValue"),
        "a number in the range of doubles",
    );
    wrong(
        &value(r#"{"bytesValue":"a"}"#),
        &format!("{path}.bytesValue"),
        "base64 in quotes",
    );
    wrong(&value(r#""text""#), path, "an object");
    wrong(
        &value(r#"{"stringValue":"a"}"#).replace("}}", "}]"),
        path,
        "a comma or the end of the list or object",
    );
}

/// Texts that are not UTF-8 are replaced and reported, or refused.
#[test]
fn invalid_utf8() {
    let read = |text: &[u8], invalid_utf8| -> Result<(Vec<u8>, String), JsonError> {
        let mut out = Vec::new();
        let replaced = json::to_protobuf(Traces, text, &Limits::default(), invalid_utf8, &mut out)?;
        Ok((out, replaced.to_string()))
    };
    for (cut, mended, path) in [
        (
            span(r#""name":"caf?""#),
            span("\"name\":\"caf\u{fffd}\""),
            ".name",
        ),
        (
            span(r#""name":"\n?""#),
            span("\"name\":\"\\n\u{fffd}\""),
            ".name",
        ),
        (
            attribute(r#"{"stringValue":"?"}"#),
            attribute("{\"stringValue\":\"\u{fffd}\"}"),
            ".attributes[0].value.stringValue",
        ),
    ] {
        let bytes: Vec<u8> = cut
            .bytes()
            .map(|byte| if byte == b'?' { 0xc3 } else { byte })
            .collect();
        let (out, replaced) = read(&bytes, InvalidUtf8::Replace).unwrap();
        assert_eq!(out, good(Traces, &mended));
        assert_eq!(replaced, format!("{SPAN}{path}: text that is not UTF-8"));
        let refused = read(&bytes, InvalidUtf8::Reject).unwrap_err();
        assert_eq!(refused.path(), format!("{SPAN}{path}"));
        assert!(refused.to_string().contains("expected UTF-8"));
    }
    let half = span(r#""name":"\ud83d""#);
    assert!(read(half.as_bytes(), InvalidUtf8::Reject).is_err());
    assert!(
        !read(half.as_bytes(), InvalidUtf8::Replace)
            .unwrap()
            .1
            .is_empty()
    );
}

/// Every known key of logs and metrics is read in its place: what is written of it is the same.
#[test]
fn every_kind_of_point() {
    let point = r#"{"attributes":[{"key":"a","value":{"boolValue":true}}],"startTimeUnixNano":"1","timeUnixNano":"2","#;
    let exemplars = r#""exemplars":[{"filteredAttributes":[{"key":"f","value":{"doubleValue":1e-9}}],"timeUnixNano":"3","asInt":"-4","spanId":"00f067aa0ba902b7","traceId":"0af7651916cd43dd8448eb211c80319c"}]"#;
    for members in [
        format!(
            r#""name":"n","description":"d","unit":"u","gauge":{{"dataPoints":[{point}"asDouble":-0.5,{exemplars},"flags":1}}]}},"metadata":[{{"key":"m","value":{{"stringValue":"v"}}}}]"#
        ),
        format!(
            r#""sum":{{"dataPoints":[{point}"asInt":"-9"}}],"aggregationTemporality":2,"isMonotonic":true}}"#
        ),
        format!(
            r#""histogram":{{"dataPoints":[{point}"count":"5","sum":1.5,"bucketCounts":["1","4"],"explicitBounds":[0.5],{exemplars},"flags":1,"min":0,"max":1e300}}],"aggregationTemporality":1}}"#
        ),
        format!(
            r#""exponentialHistogram":{{"dataPoints":[{point}"count":"5","sum":-0,"scale":-3,"zeroCount":"1","positive":{{"offset":-7,"bucketCounts":["1","300"]}},"negative":{{}},"flags":1,{exemplars},"min":-1,"max":0,"zeroThreshold":0.125}}],"aggregationTemporality":1}}"#
        ),
        format!(
            r#""summary":{{"dataPoints":[{point}"count":"5","sum":7,"quantileValues":[{{"quantile":0.5,"value":"NaN"}}],"flags":2}}]}}"#
        ),
    ] {
        let text = metric(&members);
        assert_eq!(printed(Metrics, &good(Metrics, &text)), text);
    }
    let text = record(
        r#""timeUnixNano":"1","observedTimeUnixNano":"2","severityNumber":17,"severityText":"E","body":{"kvlistValue":{"values":[{"key":"k","value":{"bytesValue":"AAE="},"keyStrindex":3},{"key":"s","value":{"stringValueStrindex":4}}]}},"attributes":[{"key":"a","value":{"arrayValue":{"values":[{"stringValue":"\"\\\n\u0001"},{}]}}}],"droppedAttributesCount":1,"flags":1,"traceId":"0af7651916cd43dd8448eb211c80319c","spanId":"00f067aa0ba902b7","eventName":"e""#,
    );
    assert_eq!(printed(Logs, &good(Logs, &text)), text);
    let text = r#"{"resourceLogs":[{"resource":{"attributes":[{"key":"a","value":{"intValue":"1"}}],"droppedAttributesCount":1,"entityRefs":[{"schemaUrl":"s","type":"t","idKeys":["a","b"],"descriptionKeys":["c"]}]},"scopeLogs":[{"scope":{"name":"n","version":"v","attributes":[{"key":"a","value":{"intValue":"1"}}],"droppedAttributesCount":2},"schemaUrl":"x"}],"schemaUrl":"y"}]}"#;
    assert_eq!(printed(Logs, &good(Logs, text)), text);
    let text = span(
        r#""traceId":"0af7651916cd43dd8448eb211c80319c","spanId":"00f067aa0ba902b7","traceState":"a=b","parentSpanId":"00f067aa0ba902b8","name":"n","kind":3,"startTimeUnixNano":"1","endTimeUnixNano":"2","attributes":[{"key":"a","value":{"stringValue":"b"}}],"droppedAttributesCount":1,"events":[{"timeUnixNano":"3","name":"e","attributes":[{"key":"a","value":{"intValue":"-1"}}],"droppedAttributesCount":2}],"droppedEventsCount":3,"links":[{"traceId":"0af7651916cd43dd8448eb211c80319c","spanId":"00f067aa0ba902b7","traceState":"c=d","attributes":[{"key":"a","value":{"boolValue":false}}],"droppedAttributesCount":4,"flags":256}],"droppedLinksCount":5,"status":{"message":"m","code":2},"flags":257"#,
    );
    assert_eq!(printed(Traces, &good(Traces, &text)), text);
}

/// The answers of each signal are written with its own keys, and read again.
#[test]
fn responses() {
    let partial = PartialSuccess {
        rejected: 3,
        message: "too \"old\"".to_owned(),
    };
    for (signal, key) in [
        (Traces, "rejectedSpans"),
        (Metrics, "rejectedDataPoints"),
        (Logs, "rejectedLogRecords"),
    ] {
        let text = json::write_response(signal, &partial);
        let expected =
            format!(r#"{{"partialSuccess":{{"{key}":"3","errorMessage":"too \"old\""}}}}"#);
        assert_eq!(String::from_utf8(text.clone()).unwrap(), expected);
        assert_eq!(json::read_response(signal, &text), Ok(partial.clone()));
        let nothing = PartialSuccess::default();
        assert_eq!(json::write_response(signal, &nothing), b"{}");
        for text in [
            "{}",
            r#"{"partialSuccess":{}}"#,
            r#"{"partialSuccess":null}"#,
        ] {
            assert_eq!(
                json::read_response(signal, text.as_bytes()),
                Ok(nothing.clone())
            );
        }
        assert!(json::read_response(signal, b"<html>").is_err());
    }
}

/// Bytes that are no request are not written as JSON.
#[test]
fn only_requests_are_written() {
    for signal in Signal::ALL {
        let mut out = Vec::new();
        assert!(json::from_protobuf(signal, b"\x0a\x05", &mut out).is_err());
        assert!(out.is_empty());
    }
}
