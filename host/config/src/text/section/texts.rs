//! Lists of texts as the values of keys.

use super::Section;
use crate::problem::Problem;
use crate::text::tree::{Node, Value, join};

/// The texts of a list, with their nodes. A single text is a list of one.
pub(super) fn read<'a>(section: &Section<'a>, key: &'static str) -> Vec<(&'a str, &'a Node)> {
    let Some(node) = section.node(key) else {
        return Vec::new();
    };
    // The content of a variable may be a list here; only its items are texts.
    let nodes = match &node.value {
        Value::List(nodes) => nodes.as_slice(),
        Value::Scalar(_) => std::slice::from_ref(node),
        Value::Null | Value::Reported => return Vec::new(),
        Value::Map(_) => {
            section.wrong_key(key, "expected a list of names, found a map", "write [a, b]");
            return Vec::new();
        }
    };
    let mut texts = Vec::with_capacity(nodes.len());
    for (index, item) in nodes.iter().enumerate() {
        if let Some(text) = item.text() {
            texts.push((text, item));
        } else if item.value != Value::Reported {
            let path = join(&join(section.path(), key), &index.to_string());
            let what = format!("expected a name, found {}", item.value.kind());
            section.problems().add(Problem::at(&item.at, path, what));
        }
    }
    texts
}

/// The texts of a list, each parsed. `parse` returns what to write instead as its error.
pub(super) fn parsed<T>(
    section: &Section<'_>,
    key: &'static str,
    parse: impl Fn(&str) -> Result<T, String>,
) -> Vec<T> {
    let parsed = read(section, key).into_iter().filter_map(|(text, node)| {
        let wrong = |instead| {
            let what = format!("`{text}` is not valid here");
            let problem = Problem::at(&node.at, join(section.path(), key), what);
            section.problems().add(problem.instead(instead));
        };
        parse(text).map_err(wrong).ok()
    });
    parsed.collect()
}
