//! Finds possible secrets in a plugin's configuration, which is JSON for the plugin.

use std::collections::BTreeSet;

use super::tree::{Node, Value};

/// Returns JSON pointers to the values in a part of the tree that came from a variable or the
/// command line: they may be secrets. A list or a map that came from there has one pointer for all
/// of it.
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

/// Appends a key to a JSON pointer (RFC 6901).
pub fn pointer(at: &str, key: &str) -> String {
    format!("{at}/{}", key.replace('~', "~0").replace('/', "~1"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::problem::{Location, Problems};
    use crate::text::env::expand;
    use crate::text::yaml;

    /// A value that came from a variable is found wherever it is, in whole or in part. Nothing else
    /// is.
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
