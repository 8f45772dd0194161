//! The JSON Schema of the configuration, for editors. It accepts every good configuration. It
//! refuses unknown keys, and values of a wrong type or out of range. Rules that depend on other
//! values, or on files, are left to `spandrel validate`. No key is required, because a file may be
//! laid over another one.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::meanings::{self, Meaning};
use crate::key::{Form, Key, Treatment, pattern};
use crate::text::tree::join;

/// The pattern of text that holds a variable, whose content may be anything.
const VARIABLE: &str = r"\$\{";
/// The pattern of the part of a name after the type. It is that of [`Id`](crate::id::Id).
const NAME: &str = "(/[^\\s\"`\\\\]+)?";

/// Returns the JSON Schema (draft 2020-12) of the whole configuration.
pub fn schema() -> String {
    let writer = Writer {
        keys: super::keys(),
        meanings: meanings::all()
            .map(|meaning| (meaning.path.clone(), meaning))
            .collect(),
    };
    let mut schema = writer.map("");
    let mut set = |key: &str, value: &str| schema.insert(key.to_owned(), value.into());
    set("$schema", "https://json-schema.org/draft/2020-12/schema");
    set("title", "The configuration of Spandrel");
    let text = serde_json::to_string_pretty(&sorted(schema.into())).unwrap_or_default();
    format!("{text}\n")
}

struct Writer {
    keys: BTreeMap<String, Key>,
    meanings: BTreeMap<String, Meaning>,
}

impl Writer {
    /// Returns the schema of a section: of a map whose keys are known, or are names.
    fn map(&self, path: &str) -> Map<String, Value> {
        let mut schema = of_types(&["object", "null"], Some(String::new()));
        let forms = self.keys.get(path).map_or(&[][..], |key| &key.forms);
        let names = forms.iter().find_map(|form| match form {
            Form::Names(types) => Some(*types),
            _ => None,
        });
        match names {
            None => {
                let properties = self
                    .children(path)
                    .map(|(name, path)| (name, self.value(&path)));
                let properties: Map<String, Value> = properties.collect();
                schema.insert("properties".to_owned(), properties.into());
                schema.insert("additionalProperties".to_owned(), false.into());
            }
            Some([]) => {
                let any = self
                    .children(path)
                    .map(|(_, path)| self.value(&path))
                    .next();
                schema.insert(
                    "additionalProperties".to_owned(),
                    any.unwrap_or(true.into()),
                );
            }
            Some(types) => {
                // A type may have two names, and all pipelines have the same keys.
                let mut names: BTreeMap<String, Vec<&str>> = BTreeMap::new();
                for name in types {
                    names
                        .entry(pattern(&join(path, name)))
                        .or_default()
                        .push(name);
                }
                let patterns = names.into_iter().map(|(child, names)| {
                    let pattern = format!("^({}){NAME}$", names.join("|"));
                    (pattern, self.value(&child))
                });
                let patterns: Map<String, Value> = patterns.collect();
                schema.insert("patternProperties".to_owned(), patterns.into());
                schema.insert("additionalProperties".to_owned(), false.into());
            }
        }
        schema
    }

    /// Returns the keys directly below a path, with their own paths.
    fn children(&self, path: &str) -> impl Iterator<Item = (String, String)> {
        let prefix = match path {
            "" => String::new(),
            path => format!("{path}::"),
        };
        let below = self.keys.keys().filter_map(|key| key.strip_prefix(&prefix));
        let mut names: Vec<String> = below
            .filter_map(|rest| rest.split("::").next())
            .map(str::to_owned)
            .collect();
        names.dedup();
        let path = path.to_owned();
        names.into_iter().map(move |name| {
            let child = join(&path, &name);
            (name, child)
        })
    }

    /// Returns the schema of the value of a key.
    fn value(&self, path: &str) -> Value {
        let unknown = Key::default();
        let key = self.keys.get(path).unwrap_or(&unknown);
        let (mut schema, text) = match &key.treatment {
            Treatment::Read => (self.read(path, &key.forms), self.description(path, key)),
            Treatment::NoEffect(why) => {
                let mut schema = Map::new();
                schema.insert("deprecated".to_owned(), true.into());
                (schema, format!("No effect: {why}."))
            }
            Treatment::Refused(instead) => {
                let schema = of_types(&["null"], None);
                (schema, format!("Not offered: {instead}."))
            }
        };
        schema.insert("description".to_owned(), text.into());
        if let Some(default) = &key.default {
            schema.insert("default".to_owned(), default.clone());
        }
        schema.into()
    }

    /// Returns the meaning of a key, with what else an editor does not show by itself.
    fn description(&self, path: &str, key: &Key) -> String {
        let Some(meaning) = self.meanings.get(path) else {
            return String::new();
        };
        let required = if key.is_required { " Required." } else { "" };
        let collector = match meaning.in_collector {
            "same" => String::new(),
            "none" => " The Collector does not have it.".to_owned(),
            other => format!(" In the Collector: {other}."),
        };
        format!("{}{required}{collector}", meaning.text)
    }

    fn read(&self, path: &str, forms: &[Form]) -> Map<String, Value> {
        match forms {
            [Form::Maps] => {
                let mut schema = of_types(&["array", "null"], Some(String::new()));
                schema.insert("items".to_owned(), self.value(&join(path, "*")));
                schema
            }
            [Form::Text(_), Form::Map] | [Form::Map, Form::Text(_)] => {
                let mut schema = self.map(path);
                // Any text, not only a variable.
                schema.remove("pattern");
                schema
            }
            [Form::Map | Form::Names(_), ..] | [] => self.map(path),
            [form, ..] => scalar(form),
        }
    }
}

/// Returns the schema of a value that is no map.
fn scalar(form: &Form) -> Map<String, Value> {
    const TEXT: [&str; 4] = ["string", "number", "boolean", "null"];
    match form {
        Form::Text(_) => of_types(&TEXT, None),
        Form::Texts(_) => {
            let mut schema = of_types(&["array", "string", "number", "boolean", "null"], None);
            let item = of_types(&["string", "number", "boolean"], None);
            schema.insert("items".to_owned(), item.into());
            schema
        }
        Form::Words { words, in_any_case } => choice(words, *in_any_case),
        Form::Boolean => {
            let words = "^(true|True|TRUE|false|False|FALSE)$";
            of_types(&["boolean", "null"], Some(words.to_owned()))
        }
        Form::Integer { least, most } => {
            let digits = "^[-+]?(0|[1-9][0-9]*|0x[0-9a-fA-F]+|0o[0-7]+)$";
            let mut schema = of_types(&["integer", "null"], Some(digits.to_owned()));
            schema.insert("minimum".to_owned(), least.clone());
            schema.insert("maximum".to_owned(), most.clone());
            schema
        }
        Form::Number { least, most } => {
            let digits = r"^[-+]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][-+]?[0-9]+)?$";
            let mut schema = of_types(&["number", "null"], Some(digits.to_owned()));
            schema.insert("minimum".to_owned(), (*least).into());
            schema.insert("maximum".to_owned(), (*most).into());
            schema
        }
        Form::Duration { or_zero, .. } => {
            let parts = r"^\+?(([0-9]+(\.[0-9]*)?|\.[0-9]+)(ns|us|µs|μs|ms|s|m|h))+$";
            if !or_zero {
                let mut schema = of_types(&["null"], Some(parts.to_owned()));
                let is_positive = json!([{ "pattern": format!("[1-9]|{VARIABLE}") }]);
                schema.insert("allOf".to_owned(), is_positive);
                return schema;
            }
            let mut schema = of_types(&["integer", "null"], Some(format!("{parts}|^0$")));
            schema.insert("minimum".to_owned(), 0.into());
            schema.insert("maximum".to_owned(), 0.into());
            schema
        }
        Form::Size { least } => {
            let size = "^[0-9]+ *(B|[KMGT]iB|kB|[KMGT]B)?$";
            let mut schema = of_types(&["integer", "null"], Some(size.to_owned()));
            schema.insert("minimum".to_owned(), (*least).into());
            schema
        }
        Form::Any | Form::Maps | Form::Map | Form::Names(_) => Map::new(),
    }
}

/// Returns the schema of a few words. They stand in an `enum`, so that an editor offers them.
fn choice(words: &[String], in_any_case: bool) -> Map<String, Value> {
    // A version such as 1.2 may be written without quotes.
    let numbers = words
        .iter()
        .filter_map(|word| serde_json::from_str(word).ok());
    let offered = words.iter().map(|word| Value::from(word.as_str()));
    let all: Vec<Value> = offered.chain(numbers).chain([Value::Null]).collect();
    let letter = |letter: char| match letter {
        'a'..='z' if in_any_case => format!("[{letter}{}]", letter.to_ascii_uppercase()),
        '.' => "\\.".to_owned(),
        letter => letter.to_string(),
    };
    let spelled = words.iter().map(|word| word.chars().map(letter).collect());
    let spelled: Vec<String> = spelled.collect();
    let pattern = format!("^({})$|{VARIABLE}", spelled.join("|"));
    let any_of = json!([{ "enum": all }, { "type": ["string"], "pattern": pattern }]);
    Map::from_iter([("anyOf".to_owned(), any_of)])
}

/// Returns the schema of these types. Text of the pattern, and text with a variable, is accepted as
/// well; with an empty pattern, only text with a variable is; without one, `types` is all.
fn of_types(types: &[&str], pattern: Option<String>) -> Map<String, Value> {
    let mut types: Vec<&str> = types.to_vec();
    let mut schema = Map::new();
    if let Some(pattern) = pattern {
        types.push("string");
        let pattern = match pattern.as_str() {
            "" => VARIABLE.to_owned(),
            pattern => format!("{pattern}|{VARIABLE}"),
        };
        schema.insert("pattern".to_owned(), pattern.into());
    }
    schema.insert("type".to_owned(), types.into());
    schema
}

/// Returns the value with the keys of each map in order, whatever the features of `serde_json` are
/// in this build.
fn sorted(value: Value) -> Value {
    match value {
        Value::Object(map) => {
            let entries = map.into_iter().map(|(key, value)| (key, sorted(value)));
            let entries: BTreeMap<String, Value> = entries.collect();
            Value::Object(entries.into_iter().collect())
        }
        Value::Array(items) => items.into_iter().map(sorted).collect(),
        other => other,
    }
}
