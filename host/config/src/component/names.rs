//! The names that the service lists in the raw tree. They are needed before the service is checked,
//! and even if other parts of it are wrong.

use std::collections::BTreeSet;

use crate::text::tree::{Node, Value, child};

/// Returns the names that the pipelines list under this key. For `extensions`, returns the names
/// that the service lists.
pub(super) fn listed(root: &Node, key: &str) -> BTreeSet<String> {
    let Some(service) = child(root, "service") else {
        return BTreeSet::new();
    };
    let pipelines = child(service, "pipelines").map(|node| &node.value);
    let owners: Vec<&Node> = match (key, pipelines) {
        ("extensions", _) => vec![service],
        (_, Some(Value::Map(pipelines))) => pipelines.iter().map(|entry| &entry.node).collect(),
        _ => Vec::new(),
    };
    let lists = owners.into_iter().filter_map(|owner| child(owner, key));
    let names = lists.flat_map(|list| match &list.value {
        Value::List(items) => items.iter().filter_map(Node::text).collect(),
        _ => list.text().into_iter().collect::<Vec<_>>(),
    });
    names.map(str::to_owned).collect()
}
