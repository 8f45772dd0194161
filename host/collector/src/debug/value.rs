//! Formats attributes, ids and times as the Collector's debug exporter does.

use std::fmt::Write as _;
use std::time::{Duration, SystemTime};

use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::resource::v1::Resource;

use crate::debug::line;
use crate::time_text::rfc3339;

/// The depth below which values are cut. The depth of batches is limited, but not all of it needs
/// to be printed.
const MAX_DEPTH: usize = 16;

/// Formats a value with its type: `Str(x)`, `Int(1)`, `Slice(["a"])`.
pub(crate) fn typed(value: Option<&AnyValue>) -> String {
    let Some(value) = value.and_then(|value| value.value.as_ref()) else {
        return "Empty()".to_owned();
    };
    let kind = match value {
        Value::StringValue(_) => "Str",
        Value::BoolValue(_) => "Bool",
        Value::IntValue(_) => "Int",
        Value::DoubleValue(_) => "Double",
        Value::ArrayValue(_) => "Slice",
        Value::KvlistValue(_) => "Map",
        Value::BytesValue(_) => "Bytes",
        Value::StringValueStrindex(_) => "Empty",
    };
    let mut out = format!("{kind}(");
    match value {
        Value::StringValue(text) => escape(&mut out, text),
        other => json(&mut out, other, 0),
    }
    out.push(')');
    out
}

/// Formats just the value: `x`.
pub(crate) fn plain(value: Option<&AnyValue>) -> String {
    let mut out = String::new();
    match value.and_then(|value| value.value.as_ref()) {
        Some(Value::StringValue(text)) => escape(&mut out, text),
        Some(other) => json(&mut out, other, 0),
        None => {}
    }
    out
}

/// Escapes control characters. They come from outside, and could control a terminal.
fn escape(out: &mut String, text: &str) {
    for character in text.chars() {
        if character.is_control() {
            out.extend(character.escape_default());
        } else {
            out.push(character);
        }
    }
}

fn json(out: &mut String, value: &Value, depth: usize) {
    if depth >= MAX_DEPTH {
        out.push_str("...");
        return;
    }
    match value {
        Value::StringValue(text) => {
            out.push('"');
            escape(out, text);
            out.push('"');
        }
        Value::BoolValue(flag) => write!(out, "{flag}").unwrap_or_default(),
        Value::IntValue(number) => write!(out, "{number}").unwrap_or_default(),
        Value::DoubleValue(number) => write!(out, "{number}").unwrap_or_default(),
        Value::BytesValue(bytes) => out.push_str(&hex::encode(bytes)),
        Value::ArrayValue(array) => {
            out.push('[');
            for (index, item) in array.values.iter().enumerate() {
                out.push_str(if index == 0 { "" } else { "," });
                item.value
                    .iter()
                    .for_each(|item| json(out, item, depth + 1));
            }
            out.push(']');
        }
        Value::KvlistValue(list) => {
            out.push('{');
            for (index, pair) in list.values.iter().enumerate() {
                out.push_str(if index == 0 { "" } else { "," });
                escape(out, &pair.key);
                out.push(':');
                let value = pair.value.as_ref().and_then(|value| value.value.as_ref());
                value.iter().for_each(|value| json(out, value, depth + 1));
            }
            out.push('}');
        }
        // Only profiles use it. Elsewhere it has no meaning.
        Value::StringValueStrindex(_) => {}
    }
}

/// Formats attributes as ` key=value` each.
pub(crate) fn inline(attributes: &[KeyValue]) -> String {
    let mut out = String::new();
    for attribute in attributes {
        out.push(' ');
        escape(&mut out, &attribute.key);
        out.push('=');
        out.push_str(&plain(attribute.value.as_ref()));
    }
    out
}

/// Writes attributes as `     -> key: Str(value)` each, under a title.
pub(crate) fn listed(out: &mut String, title: &str, attributes: &[KeyValue]) {
    if attributes.is_empty() {
        return;
    }
    line(out, format_args!("{title}:"));
    for attribute in attributes {
        let value = typed(attribute.value.as_ref());
        line(
            out,
            format_args!("     -> {}: {value}", attribute.key.escape_debug()),
        );
    }
}

/// Writes a resource, with the name of its signal.
pub(crate) fn resource(
    out: &mut String,
    name: &str,
    index: usize,
    resource: Option<&Resource>,
    schema_url: &str,
) {
    line(out, format_args!("Resource{name} #{index}"));
    line(
        out,
        format_args!("Resource SchemaURL: {}", schema_url.escape_debug()),
    );
    if let Some(resource) = resource {
        listed(out, "Resource attributes", &resource.attributes);
    }
}

pub(crate) fn scope(
    out: &mut String,
    name: &str,
    index: usize,
    scope: Option<&InstrumentationScope>,
    schema_url: &str,
) {
    line(out, format_args!("Scope{name} #{index}"));
    line(
        out,
        format_args!("Scope{name} SchemaURL: {}", schema_url.escape_debug()),
    );
    let (scope_name, version) = scope.map_or(("", ""), |scope| (&*scope.name, &*scope.version));
    line(
        out,
        format_args!(
            "InstrumentationScope {} {}",
            scope_name.escape_debug(),
            version.escape_debug()
        ),
    );
    if let Some(scope) = scope {
        listed(out, "InstrumentationScope attributes", &scope.attributes);
    }
}

/// Writes the short form of a resource, `ResourceTraces #0 key=value`. The short form of a scope is
/// `ScopeTraces #0 name@version key=value`.
pub(crate) fn short_resource(
    out: &mut String,
    name: &str,
    index: usize,
    resource: Option<&Resource>,
) {
    let attributes = resource.map_or(&[][..], |resource| &resource.attributes);
    line(
        out,
        format_args!("Resource{name} #{index}{}", inline(attributes)),
    );
}

pub(crate) fn short_scope(
    out: &mut String,
    name: &str,
    index: usize,
    scope: Option<&InstrumentationScope>,
) {
    let mut words = String::new();
    if let Some(scope) = scope {
        write!(words, " {}", scope.name.escape_debug()).unwrap_or_default();
        if !scope.version.is_empty() {
            write!(words, "@{}", scope.version.escape_debug()).unwrap_or_default();
        }
        words.push_str(&inline(&scope.attributes));
    }
    line(out, format_args!("Scope{name} #{index}{words}"));
}

pub(crate) fn time(unix_nano: u64) -> String {
    rfc3339(SystemTime::UNIX_EPOCH + Duration::from_nanos(unix_nano))
}
