//! A piece of the raw tree as JSON: how a plugin gets its configuration.

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
