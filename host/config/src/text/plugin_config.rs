//! The input of a plugin's `configure`: its `config` as JSON, in which no value has lost its text.
//!
//! A plugin may want text where the operator wrote `1.10`, or where a variable held `12345e7`. So a
//! number is written as it is in the source, and not as a number type of this program would print
//! it. The plugin kit accepts such a number as text, and text that is a number as a number.

use std::fmt;
use std::sync::Arc;

use super::scalar;
use super::tree::{Entry, Node, Scalar, Value};

/// JSON text with the keys of each map in order, so that equal configs are equal texts. Cheap to
/// clone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PluginConfig(Arc<str>);

impl PluginConfig {
    /// Returns the value for no config at all.
    pub(crate) fn none() -> Self {
        Self("null".into())
    }

    pub(crate) fn from_node(node: &Node) -> Self {
        let mut json = String::new();
        write(node, &mut json);
        Self(json.into())
    }

    /// Returns the JSON text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the JSON as a value, in which numbers have the number types of this program. It is
    /// for display and comparison, not for a plugin.
    pub fn value(&self) -> serde_json::Value {
        // The text that is written here is always JSON.
        serde_json::from_str(&self.0).unwrap_or_default()
    }
}

impl From<&serde_json::Value> for PluginConfig {
    fn from(value: &serde_json::Value) -> Self {
        Self(value.to_string().into())
    }
}

impl fmt::Display for PluginConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn write(node: &Node, json: &mut String) {
    match &node.value {
        Value::Null | Value::Reported => json.push_str("null"),
        Value::Scalar(scalar) => write_scalar(scalar, json),
        Value::List(items) => {
            json.push('[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    json.push(',');
                }
                write(item, json);
            }
            json.push(']');
        }
        Value::Map(entries) => {
            let mut entries: Vec<&Entry> = entries.iter().collect();
            entries.sort_by(|a, b| a.key.cmp(&b.key));
            json.push('{');
            for (index, entry) in entries.into_iter().enumerate() {
                if index > 0 {
                    json.push(',');
                }
                write_text(&entry.key, json);
                json.push(':');
                write(&entry.node, json);
            }
            json.push('}');
        }
    }
}

fn write_scalar(scalar: &Scalar, json: &mut String) {
    let text = scalar.text.as_str();
    if !scalar.plain {
        write_text(text, json);
    } else if let Some(boolean) = scalar::boolean(text) {
        json.push_str(if boolean { "true" } else { "false" });
    } else if let Some(number) = number(text) {
        json.push_str(&number);
    } else {
        write_text(text, json);
    }
}

fn write_text(text: &str, json: &mut String) {
    json.push_str(&serde_json::Value::from(text).to_string());
}

/// Returns the text as a JSON number, if it is a finite number that JSON can express as it is
/// written. `.5` and `5.` only lack a zero. `0x1f` and `+5` would become another text, so they stay
/// text.
fn number(text: &str) -> Option<String> {
    scalar::float(text)?;
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => ("-", digits),
        None => ("", text),
    };
    let exponent_at = digits.find(['e', 'E']).unwrap_or(digits.len());
    let (digits, exponent) = digits.split_at_checked(exponent_at)?;
    let number = match digits.split_once('.') {
        None => format!("{sign}{digits}{exponent}"),
        Some((whole, fraction)) => {
            let or_zero = |digits: &'_ str| match digits {
                "" => "0".to_owned(),
                digits => digits.to_owned(),
            };
            format!("{sign}{}.{}{exponent}", or_zero(whole), or_zero(fraction))
        }
    };
    is_json(&number).then_some(number)
}

/// Returns true if the number fits JSON's grammar.
fn is_json(number: &str) -> bool {
    serde_json::from_str::<serde_json::Number>(number).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::problem::{Location, Problems};
    use crate::text::env;
    use crate::text::yaml;

    /// Returns the JSON for this YAML, with `variable` as the content of the variable `V`.
    fn json(source: &str, variable: &str) -> String {
        let at = Location::start(&"test".into());
        let mut root = yaml::parse(&at.source, source).expect("valid YAML");
        let problems = Problems::default();
        env::expand(&mut root, "", &|_| Some(variable.to_owned()), &problems);
        assert_eq!(problems.into_result(), Ok(()), "{source}");
        let config = PluginConfig::from_node(&root);
        let value: Result<serde_json::Value, _> = serde_json::from_str(config.as_str());
        assert!(value.is_ok(), "{source}: {config} is no JSON");
        config.to_string()
    }

    /// A number keeps the text in which it was written.
    #[test]
    fn numbers_keep_their_text() {
        for (yaml, expected) in [
            ("1.10", "1.10"),
            ("12345e7", "12345e7"),
            ("1E+05", "1E+05"),
            ("4711", "4711"),
            ("-7", "-7"),
            ("12345678901234567890123", "12345678901234567890123"),
            ("18446744073709551616", "18446744073709551616"),
            (".5", "0.5"),
            ("-.5e3", "-0.5e3"),
            ("5.", "5.0"),
            ("0xff", "\"0xff\""),
            ("0o644", "\"0o644\""),
            ("+491234", "\"+491234\""),
            ("0123", "\"0123\""),
            ("1e999", "\"1e999\""),
            ("1.2.3", "\"1.2.3\""),
            (".inf", "\".inf\""),
            ("1_000", "\"1_000\""),
            ("1e", "\"1e\""),
            ("True", "true"),
            ("yes", "\"yes\""),
            ("~", "null"),
            ("!!str 1.10", "\"1.10\""),
            ("! 1.10", "\"1.10\""),
        ] {
            assert_eq!(json(yaml, ""), expected, "{yaml}");
            if !yaml.starts_with('!') {
                assert_eq!(json("${env:V}", yaml), expected, "a variable with {yaml}");
            }
        }
    }

    /// Inside quotes a reference is text, whatever its content, in lists and in the middle of text.
    #[test]
    fn quoted_references_are_text() {
        for held in [
            "1.10",
            "12345e7",
            "4711",
            "true",
            "null",
            "~",
            "",
            "a #b",
            "k: v",
            "[a]",
            "{x: y}",
            "\"q\"",
            "# all",
            " spaced ",
            "two\nlines",
            "- a",
            "&x",
            "!!str x",
        ] {
            let text = serde_json::Value::from(held).to_string();
            for yaml in ["\"${env:V}\"", "'${env:V}'", "\"${V}\""] {
                assert_eq!(json(yaml, held), text, "{yaml} with {held}");
                let list = format!("[{yaml}]");
                assert_eq!(json(&list, held), format!("[{text}]"), "{held}");
            }
            let around = serde_json::Value::from(format!("<{held}>")).to_string();
            assert_eq!(json("\"<${env:V}>\"", held), around, "{held}");
        }
    }

    /// Without quotes a variable has YAML's type, and loses nothing of its text.
    #[test]
    fn plain_references_lose_nothing() {
        for (held, expected) in [
            ("a #b", "\"a #b\""),
            ("# all", "\"# all\""),
            ("1.10 # pinned", "\"1.10 # pinned\""),
            ("[a, b] # c", "\"[a, b] # c\""),
            ("p#1", "\"p#1\""),
            ("a b", "\"a b\""),
            ("two\nlines", "\"two\\nlines\""),
            ("k: v", "{\"k\":\"v\"}"),
            ("[a, 1.10]", "[\"a\",1.10]"),
            ("a: 1 # one\nb: 2", "{\"a\":1,\"b\":2}"),
            ("a: b: c", "\"a: b: c\""),
            ("*x", "\"*x\""),
            ("!secret", "\"!secret\""),
            ("!AI!3B", "\"!AI!3B\""),
            ("\"q #1\"", "\"q #1\""),
            ("", "null"),
        ] {
            assert_eq!(json("${env:V}", held), expected, "{held}");
        }
        assert_eq!(json("${env:V}.${env:V}", "10"), "10.10");
        assert_eq!(json("v${env:V}", "a #b"), "\"va #b\"");
    }

    /// Equal maps give equal texts, whatever the order of their keys.
    #[test]
    fn keys_are_in_order() {
        let one = json("{ b: [1, { d: x, c: ~ }], a: \"1\" }", "");
        assert_eq!(one, r#"{"a":"1","b":[1,{"c":null,"d":"x"}]}"#);
        assert_eq!(json("{ a: \"1\", b: [1, { c: ~, d: x }] }", ""), one);
    }
}
