//! The raw configuration: a tree in which every node knows where it was written.

use crate::problem::Location;

/// A value and its place.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Node {
    pub(crate) at: Location,
    pub(crate) value: Value,
    /// The content of a variable that is the whole value and not in quotes. `value` is that text
    /// read as YAML. A reader that wants text takes this one, because a token may look like a map.
    pub(crate) raw: Option<String>,
    /// True if it came from a variable or the command line. It may be a secret, and no message
    /// shows it.
    pub(crate) hidden: bool,
}

/// The values of YAML. Scalars keep their text: the reader of a key knows which type it wants, and
/// a name like `0123` must not become a number on its way to a key that takes text.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    Null,
    Scalar(Scalar),
    List(Vec<Node>),
    Map(Vec<Entry>),
    /// A value that could not be resolved and is reported already. Readers must not report it
    /// again.
    Reported,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Scalar {
    pub(crate) text: String,
    /// True if written without quotes, so that it may be a number or a boolean.
    pub(crate) plain: bool,
}

/// A key of a map, with the place of the key itself.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Entry {
    pub(crate) key: String,
    pub(crate) at: Location,
    pub(crate) node: Node,
}

/// Appends a key to a path, as the Collector does.
pub(crate) fn join(path: &str, key: &str) -> String {
    if path.is_empty() {
        key.to_owned()
    } else {
        format!("{path}::{key}")
    }
}

/// Returns the value of a key if the node is a map that has it.
pub(crate) fn child<'a>(node: &'a Node, key: &str) -> Option<&'a Node> {
    let Value::Map(entries) = &node.value else {
        return None;
    };
    let entry = entries.iter().find(|entry| entry.key == key)?;
    Some(&entry.node)
}

impl Value {
    /// Returns the word for it in a message.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Null | Self::Reported => "nothing",
            Self::Scalar(_) => "a single value",
            Self::List(_) => "a list",
            Self::Map(_) => "a map",
        }
    }
}

impl Node {
    pub(crate) fn new(at: Location, value: Value) -> Self {
        Self {
            at,
            value,
            raw: None,
            hidden: false,
        }
    }

    /// Returns the tree marked so that no message shows its values.
    pub(crate) fn hidden(mut self) -> Self {
        self.hide();
        self
    }

    fn hide(&mut self) {
        self.hidden = true;
        match &mut self.value {
            Value::Null | Value::Scalar(_) | Value::Reported => {}
            Value::List(items) => items.iter_mut().for_each(Self::hide),
            Value::Map(entries) => entries.iter_mut().for_each(|entry| entry.node.hide()),
        }
    }

    /// Returns the form in which a message shows a text of this node.
    pub(crate) fn shown(&self, text: &str) -> String {
        // An address with an `@` carries a password; one with a `?` may carry a token.
        if self.hidden || text.contains(['@', '?']) {
            "this value".to_owned()
        } else {
            format!("`{text}`")
        }
    }

    /// Returns the text of the node: the content of the variable, or the scalar as it is written.
    pub(crate) fn text(&self) -> Option<&str> {
        match (&self.raw, &self.value) {
            // An empty variable is null, as an empty value is.
            (Some(raw), _) => Some(raw.as_str()).filter(|raw| !raw.is_empty()),
            (None, Value::Scalar(scalar)) => Some(&scalar.text),
            (None, _) => None,
        }
    }

    /// Returns the number of nodes in this tree.
    pub(crate) fn size(&self) -> usize {
        let children: usize = match &self.value {
            Value::Null | Value::Scalar(_) | Value::Reported => 0,
            Value::List(items) => items.iter().map(Self::size).sum(),
            Value::Map(entries) => entries.iter().map(|entry| entry.node.size()).sum(),
        };
        children.saturating_add(1)
    }

    /// Merges `over` on top, as the Collector does: maps are merged key by key; anything else
    /// (lists, scalars, and a null over a map) replaces what is below.
    pub(crate) fn merge(&mut self, over: Self) {
        let Value::Map(below) = &mut self.value else {
            *self = over;
            return;
        };
        let Value::Map(above) = over.value else {
            *self = over;
            return;
        };
        for entry in above {
            match below.iter_mut().find(|known| known.key == entry.key) {
                Some(known) => {
                    known.at = entry.at;
                    known.node.merge(entry.node);
                }
                None => below.push(entry),
            }
        }
    }

    /// Returns the node at the end of a path of new maps, as `--set a::b=c` asks for. The path is
    /// given from its end.
    pub(crate) fn nested<'a>(self, path_from_end: impl Iterator<Item = &'a str>) -> Self {
        path_from_end.fold(self, |node, key| {
            let at = node.at.clone();
            let entry = Entry {
                key: key.to_owned(),
                at: at.clone(),
                node,
            };
            Self::new(at, Value::Map(vec![entry]))
        })
    }
}
