//! Replaces `${env:NAME}`, `${env:NAME:-default}` and `${NAME}` in values; `$$` stands for one `$`.
//!
//! A reference that is the whole value and has no quotes gets the type that YAML gives to the text
//! of the variable. Inside quotes, or with other text around it, it is text.

use super::scalar;
use super::tree::{Node, Scalar, Value, join};
use super::yaml;
use crate::problem::{Location, Problem, Problems};

/// Looks up a variable. Tests pass their own function.
pub(crate) type Environment<'a> = &'a dyn Fn(&str) -> Option<String>;

/// Replaces every reference in the values of the tree; keys stay as they are. The content of a
/// variable is not expanded again: a reference in it is a problem.
pub(crate) fn expand(
    node: &mut Node,
    path: &str,
    environment: Environment<'_>,
    problems: &Problems,
) {
    let at = node.at.clone();
    match &mut node.value {
        Value::Null | Value::Reported => {}
        Value::List(items) => {
            for (index, item) in items.iter_mut().enumerate() {
                expand(item, &join(path, &index.to_string()), environment, problems);
            }
        }
        Value::Map(entries) => {
            for entry in entries {
                let path = join(path, &entry.key);
                expand(&mut entry.node, &path, environment, problems);
            }
        }
        Value::Scalar(scalar) if scalar.text.contains('$') => {
            match expand_scalar(scalar, &at, environment) {
                Ok(expanded) => *node = expanded,
                Err((what, instead)) => {
                    problems.add(Problem::at(&at, path, what).instead(instead));
                    node.value = Value::Reported;
                }
            }
        }
        Value::Scalar(_) => {}
    }
}

/// The problem, and its remedy.
type Wrong = (String, String);

fn expand_scalar(
    scalar: &Scalar,
    at: &Location,
    environment: Environment<'_>,
) -> Result<Node, Wrong> {
    let parts = split(&scalar.text)?;
    if let [Part::Reference(reference)] = parts.as_slice()
        && scalar.plain
    {
        return Ok(typed(reference.resolve(environment)?, at).hidden());
    }
    let mut text = String::new();
    let mut hidden = false;
    for part in parts {
        match part {
            Part::Text(literal) => text.push_str(literal),
            Part::Reference(reference) => {
                text.push_str(&reference.resolve(environment)?);
                hidden = true;
            }
        }
    }
    let plain = scalar.plain;
    let node = Node::new(at.clone(), Value::Scalar(Scalar { text, plain }));
    Ok(Node { hidden, ..node })
}

/// Reads a variable that is the whole value. It may hold any YAML: a number, a list, a map. If it
/// is not YAML, it is text.
fn typed(text: String, at: &Location) -> Node {
    let as_text = || {
        let (text, plain) = (text.clone(), false);
        Node::new(at.clone(), Value::Scalar(Scalar { text, plain }))
    };
    let mut node = yaml::parse_value(&at.source, &text).unwrap_or_else(|_| as_text());
    if let Value::Scalar(scalar) = &node.value
        && scalar.plain
        && scalar::is_text(&scalar.text)
    {
        // YAML would fold lines and cut off spaces.
        node = as_text();
    }
    place(&mut node, at);
    node.raw = Some(text);
    node
}

/// Gives all nodes of the value the location of the reference.
fn place(node: &mut Node, at: &Location) {
    node.at = at.clone();
    match &mut node.value {
        Value::Null | Value::Scalar(_) | Value::Reported => {}
        Value::List(items) => items.iter_mut().for_each(|item| place(item, at)),
        Value::Map(entries) => {
            for entry in entries {
                entry.at = at.clone();
                place(&mut entry.node, at);
            }
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Part<'a> {
    Text(&'a str),
    Reference(Reference<'a>),
}

#[derive(Debug, PartialEq, Eq)]
struct Reference<'a> {
    name: &'a str,
    default: Option<&'a str>,
}

impl Reference<'_> {
    fn resolve(&self, environment: Environment<'_>) -> Result<String, Wrong> {
        if let Some(value) = environment(self.name) {
            // The value stays out of the message: it may be a secret.
            return if value.contains("${") {
                Err((
                    format!("the environment variable `{}` holds `${{`", self.name),
                    "references in a variable are not replaced: give it the value itself"
                        .to_owned(),
                ))
            } else {
                Ok(value)
            };
        }
        // As in the Collector, the default is for a variable that is not set, not for an empty one.
        self.default.map(str::to_owned).ok_or_else(|| {
            (
                format!("the environment variable `{}` is not set", self.name),
                format!("set it, or give a default: ${{env:{}:-default}}", self.name),
            )
        })
    }
}

fn split(text: &str) -> Result<Vec<Part<'_>>, Wrong> {
    let mut parts = Vec::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('$') {
        if !before.is_empty() {
            parts.push(Part::Text(before));
        }
        if let Some(after) = after.strip_prefix('$') {
            parts.push(Part::Text("$"));
            rest = after;
        } else if let Some(inside) = after.strip_prefix('{') {
            let Some((inside, after)) = inside.split_once('}') else {
                return Err((
                    "`${` is not closed by `}`".to_owned(),
                    "close it, or write `$$` for a dollar sign".to_owned(),
                ));
            };
            parts.push(Part::Reference(reference(inside)?));
            rest = after;
        } else {
            parts.push(Part::Text("$"));
            rest = after;
        }
    }
    if !rest.is_empty() {
        parts.push(Part::Text(rest));
    }
    Ok(parts)
}

fn reference(inside: &str) -> Result<Reference<'_>, Wrong> {
    if inside.contains("${") {
        return Err((
            "a reference stands inside of another".to_owned(),
            "write a default without references".to_owned(),
        ));
    }
    let (name, default) = match inside.split_once(":-") {
        Some((name, default)) => (name, Some(default)),
        None => (inside, None),
    };
    let name = match name.split_once(':') {
        None => name,
        Some(("env", name)) => name,
        Some((scheme, _)) => {
            return Err((
                format!("`{scheme}` is not a scheme that can be read here"),
                "write ${env:NAME}, or `$$` for a dollar sign".to_owned(),
            ));
        }
    };
    let valid = name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    if valid {
        return Ok(Reference { name, default });
    }
    Err((
        format!("`{name}` is not the name of an environment variable"),
        "write letters, digits and `_`, not a digit first".to_owned(),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::section::Section;

    fn expanded(text: &str) -> Result<Node, Wrong> {
        let at = Location::start(&"test".into());
        let scalar = Scalar {
            text: text.to_owned(),
            plain: true,
        };
        expand_scalar(&scalar, &at, &|name| match name {
            "HOST" => Some("10.0.0.1".to_owned()),
            "PORT" => Some("4317".to_owned()),
            "LIST" => Some("[a, b]".to_owned()),
            "ZIP" => Some("0123".to_owned()),
            "EMPTY" => Some(String::new()),
            "QUOTED" => Some("\"a b\"".to_owned()),
            "NESTED" => Some("x${env:HOST}".to_owned()),
            _ => None,
        })
    }

    /// Every notation of a reference is replaced, in the middle of a text as well.
    #[test]
    fn references_are_replaced() {
        for (source, result) in [
            ("${env:HOST}:${PORT}", "10.0.0.1:4317"),
            ("${env:NONE:-0.0.0.0}:1", "0.0.0.0:1"),
            ("${NONE:-http://a:1}", "http://a:1"),
            ("a$$b$${HOST}", "a$b${HOST}"),
            ("costs $5", "costs $5"),
            ("${env:ZIP}", "0123"),
            ("x${EMPTY}", "x"),
        ] {
            let node = expanded(source).expect("resolved");
            assert_eq!(node.text(), Some(result), "{source}");
        }
    }

    /// A variable that is the whole value is read as YAML.
    #[test]
    fn a_whole_value_is_yaml() {
        let value = |source| expanded(source).expect("resolved").value;
        assert!(matches!(value("${env:LIST}"), Value::List(items) if items.len() == 2));
        assert_eq!(value("${env:EMPTY}"), Value::Null);
        let quoted = Scalar {
            text: "a b".to_owned(),
            plain: false,
        };
        assert_eq!(value("${env:QUOTED}"), Value::Scalar(quoted));
    }

    /// A key that takes text gets the content of the variable, with and without quotes, whatever
    /// YAML makes of it.
    #[test]
    fn text_is_not_read_as_yaml() {
        for text in [
            "Basic: abc",
            "{x: y}",
            "~",
            "null",
            "[a]",
            "0123",
            "\"q\"",
            "a: b: c",
            "a #b",
            "# all",
            "p@s$w0rd",
            "!secret",
            "!AI!3B",
            "123",
        ] {
            let problems = Problems::default();
            let at = Location::start(&"test".into());
            let source = "quoted: '${env:V}'\nplain: ${env:V}\n";
            let mut root = yaml::parse(&at.source, source).expect("valid");
            expand(&mut root, "", &|_| Some(text.to_owned()), &problems);
            let section = Section::new(&root, String::new(), &problems);
            for key in ["quoted", "plain"] {
                section.required(key, "text");
                assert_eq!(section.string(key).as_deref(), Some(text), "{key}");
            }
            drop(section);
            assert_eq!(problems.into_result(), Ok(()));
        }
    }

    /// The error for a reference that cannot be resolved says what to do.
    #[test]
    fn bad_references_are_problems() {
        for source in [
            "${env:NONE}",
            "${HOST",
            "${file:x}",
            "${1A}",
            "${}",
            "${env:}",
            "${env:NESTED}",
            "a ${env:NESTED}",
            "${env:HOST:-${env:ZIP}}",
        ] {
            assert!(expanded(source).is_err(), "{source}");
        }
    }
}
