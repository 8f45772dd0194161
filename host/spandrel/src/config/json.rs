//! A piece of the raw tree as JSON: how a plugin gets its configuration.

use std::collections::BTreeSet;

use serde_json::{Map, Number, Value as Json};

use super::scalar;
use super::tree::{Node, Scalar, Value};

pub(crate) fn from_node(node: &Node) -> Json {
    match &node.value {
        Value::Null | Value::Reported => Json::Null,
        Value::Scalar(scalar) => from_scalar(scalar),
        Value::List(items) => Json::Array(items.iter().map(from_node).collect()),
        Value::Map(entries) => {
            let members = entries
                .iter()
                .map(|entry| (entry.key.clone(), from_node(&entry.node)));
            Json::Object(members.collect::<Map<_, _>>())
        }
    }
}

/// Where in a piece of the tree values stand that came from a variable or the command line, as JSON
/// pointers: they may be secrets. A list or a map that did has one pointer for all of it.
pub(crate) fn hidden(node: &Node) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    find_hidden(node, String::new(), &mut found);
    found
}

fn find_hidden(node: &Node, at: String, found: &mut BTreeSet<String>) {
    if node.hidden {
        found.insert(at);
        return;
    }
    match &node.value {
        Value::Null | Value::Reported | Value::Scalar(_) => {}
        Value::List(items) => {
            for (index, item) in items.iter().enumerate() {
                find_hidden(item, pointer(&at, &index.to_string()), found);
            }
        }
        Value::Map(entries) => {
            for entry in entries {
                find_hidden(&entry.node, pointer(&at, &entry.key), found);
            }
        }
    }
}

/// One step further along a JSON pointer (RFC 6901).
pub(crate) fn pointer(at: &str, key: &str) -> String {
    format!("{at}/{}", key.replace('~', "~0").replace('/', "~1"))
}

fn from_scalar(scalar: &Scalar) -> Json {
    let text = || Json::String(scalar.text.clone());
    if !scalar.plain {
        return text();
    }
    if let Some(boolean) = scalar::boolean(&scalar.text) {
        return Json::Bool(boolean);
    }
    if let Some(number) = scalar::integer(&scalar.text) {
        let number = i64::try_from(number)
            .map(Number::from)
            .or_else(|_| u64::try_from(number).map(Number::from));
        return number.map_or_else(|_| text(), Json::Number);
    }
    scalar::float(&scalar.text)
        .and_then(Number::from_f64)
        .map_or_else(text, Json::Number)
}

#[cfg(test)]
mod tests {
    use super::super::env::expand;
    use super::super::problem::{Location, Problems};
    use super::super::yaml;
    use super::*;

    /// What came from a variable is found wherever it stands, in whole or in part; nothing else is.
    #[test]
    fn what_came_from_a_variable_is_known() {
        let at = Location::start(&"test".into());
        let source = "{ a: [x, \"${env:V}\"], b: { c/d: 'to ${env:V}', e: 5 }, f: plain }";
        let mut root = yaml::parse(&at.source, source).expect("valid");
        expand(
            &mut root,
            "",
            &|_| Some("secret".to_owned()),
            &Problems::default(),
        );
        let found: Vec<String> = hidden(&root).into_iter().collect();
        assert_eq!(found, ["/a/1", "/b/c~1d"]);
    }
}
