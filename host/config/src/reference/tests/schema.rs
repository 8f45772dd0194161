//! The schema accepts what the reader accepts, and refuses what no reader would accept.
//!
//! The schema uses few keywords of JSON Schema. They are evaluated here, which costs one small crate
//! for patterns; a whole validator costs eight. A keyword that is not known here fails the test.

use regex_lite::Regex;
use serde_json::Value;

use super::{files, read, tree};
use crate::reference::schema;
use crate::text::plugin_config::PluginConfig;
use crate::text::tree::join;

/// The parts of a message that say that the form of a value is wrong, which a schema can see.
const FORM: [&str; 11] = [
    "unknown key",
    "unknown ",
    " is not one of the choices",
    "expected ",
    " is not a whole number",
    " is not a boolean",
    " is not a duration",
    " has no unit",
    " is out of range",
    "not offered by this version of spandrel",
    "must be longer than 0",
];

/// Problems of these kinds that the schema leaves to `spandrel validate`, by their paths: a key that
/// is known beside some other keys only, and a section that is text with a variable.
const LEFT: [&str; 2] = [
    "processors::wasm/file_only::module::on_unreachable",
    "exporters::otlp_grpc::sending_queue",
];

/// Adds the paths at which the value does not fit the schema.
fn find_misfits(schema: &Value, value: &Value, path: &str, found: &mut Vec<String>) {
    let keywords = schema.as_object().expect("a schema is a map");
    let fits_in = |schema: &Value| {
        let mut found = Vec::new();
        find_misfits(schema, value, path, &mut found);
        found.is_empty()
    };
    for (keyword, argument) in keywords {
        let fits = match (keyword.as_str(), value) {
            ("$schema" | "title" | "description" | "default" | "deprecated", _) => true,
            // These are looked at by `find_misfits_below`.
            ("properties" | "patternProperties" | "additionalProperties" | "items", _) => true,
            ("type", _) => has_type(argument, value),
            ("enum", _) => argument.as_array().expect("a list").contains(value),
            ("pattern", Value::String(text)) => matches(argument, text),
            ("minimum", Value::Number(number)) => number.as_f64() >= argument.as_f64(),
            ("maximum", Value::Number(number)) => number.as_f64() <= argument.as_f64(),
            ("pattern" | "minimum" | "maximum", _) => true,
            ("anyOf", _) => argument.as_array().expect("a list").iter().any(fits_in),
            ("allOf", _) => argument.as_array().expect("a list").iter().all(fits_in),
            ("not", _) => false,
            (keyword, _) => unreachable!("`{keyword}` is not evaluated here"),
        };
        if !fits {
            found.push(path.to_owned());
        }
    }
    find_misfits_below(schema, value, path, found);
}

fn find_misfits_below(schema: &Value, value: &Value, path: &str, found: &mut Vec<String>) {
    if let (Some(schema), Value::Array(items)) = (schema.get("items"), value) {
        for (index, item) in items.iter().enumerate() {
            find_misfits(schema, item, &join(path, &index.to_string()), found);
        }
    }
    let Value::Object(entries) = value else {
        return;
    };
    for (key, value) in entries {
        let path = join(path, key);
        let property = schema.get("properties").and_then(|all| all.get(key));
        let patterns = schema.get("patternProperties").and_then(Value::as_object);
        let pattern = patterns.into_iter().flatten();
        let pattern = pattern.filter(|(pattern, _)| matches(&pattern.as_str().into(), key));
        let named: Vec<&Value> = property
            .into_iter()
            .chain(pattern.map(|(_, schema)| schema))
            .collect();
        for schema in &named {
            find_misfits(schema, value, &path, found);
        }
        match schema.get("additionalProperties") {
            Some(Value::Bool(false)) if named.is_empty() => found.push(path),
            Some(schema @ Value::Object(_)) if named.is_empty() => {
                find_misfits(schema, value, &path, found);
            }
            _ => {}
        }
    }
}

fn matches(pattern: &Value, text: &str) -> bool {
    let pattern = Regex::new(pattern.as_str().expect("text")).expect("a pattern");
    pattern.is_match(text)
}

fn has_type(types: &Value, value: &Value) -> bool {
    let types = types.as_array().expect("a list of types");
    let is = |name: &str| types.iter().any(|it| it == name);
    match value {
        Value::Null => is("null"),
        Value::Bool(_) => is("boolean"),
        Value::Number(number) => {
            let is_whole = number.is_i64() || number.is_u64();
            is("number") || is_whole && is("integer")
        }
        Value::String(_) => is("string"),
        Value::Array(_) => is("array"),
        Value::Object(_) => is("object"),
    }
}

fn misfits(schema: &Value, file: &std::path::Path) -> Option<Vec<String>> {
    let value = PluginConfig::from_node(&tree(file)?).value();
    let mut found = Vec::new();
    find_misfits(schema, &value, "", &mut found);
    Some(found)
}

/// Every good configuration and every example fits the schema.
#[test]
fn good_files_fit() {
    let schema: Value = serde_json::from_str(&schema()).expect("JSON");
    let files = [
        files("tests/config/good", "yaml"),
        files("examples", "yaml"),
    ]
    .concat();
    assert!(files.len() > 10, "only {} files", files.len());
    for file in files {
        let found = misfits(&schema, &file).expect("YAML");
        assert!(found.is_empty(), "{}: {found:?}", file.display());
    }
}

/// Each problem of a bad configuration that a schema can see (a key that is not known, or a value of
/// the wrong form) is seen by this one, at the same key.
#[test]
fn bad_files_do_not_fit() {
    let schema: Value = serde_json::from_str(&schema()).expect("JSON");
    let mut compared = 0;
    let mut unseen = Vec::new();
    for file in files("tests/config/bad", "yaml") {
        let Some(found) = misfits(&schema, &file) else {
            continue;
        };
        for line in read(&file.with_extension("err")).lines() {
            let mut parts = line.splitn(3, ": ");
            let (Some(_), Some(path), Some(what)) = (parts.next(), parts.next(), parts.next())
            else {
                continue;
            };
            let what = what.split("; ").next().unwrap_or_default();
            // The content of a variable is not in the file.
            let is_form = FORM.iter().any(|it| what.contains(it));
            let is_seen = is_form && !what.contains("this value") && !LEFT.contains(&path);
            if is_seen && !found.iter().any(|it| it == path) {
                unseen.push(line.to_owned());
            }
            compared += usize::from(is_seen);
        }
    }
    assert!(unseen.is_empty(), "{}", unseen.join("\n"));
    assert!(compared > 50, "only {compared} problems were compared");
}
