//! The raw configuration: a tree in which every node knows where it was written.

use super::problem::Location;

/// A value and its place.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Node {
    pub(crate) at: Location,
    pub(crate) value: Value,
    /// What a variable held, where the value is all of it and not in quotes: `value` is that text read
    /// as YAML, and who wants text takes it as it is. A token may look like a map.
    pub(crate) raw: Option<String>,
    /// Came from a variable or the command line: it may be a secret, and no message shows it.
    pub(crate) hidden: bool,
}

/// What YAML can say. Scalars keep their text: the reader of a key knows which type it wants, and
/// a name like `0123` must not become a number on its way to a key that takes text.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    Null,
    Scalar(Scalar),
    List(Vec<Node>),
    Map(Vec<Entry>),
    /// Could not be resolved, and is reported already: nobody who reads it reports it again.
    Reported,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Scalar {
    pub(crate) text: String,
    /// Written without quotes, so that it may stand for a number or a boolean.
    pub(crate) plain: bool,
}

/// A key of a map, with the place of the key itself.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Entry {
    pub(crate) key: String,
    pub(crate) at: Location,
    pub(crate) node: Node,
}

/// The value of a key, where the node is a map that has it.
pub(crate) fn child<'a>(node: &'a Node, key: &str) -> Option<&'a Node> {
    let Value::Map(entries) = &node.value else {
        return None;
    };
    let entry = entries.iter().find(|entry| entry.key == key)?;
    Some(&entry.node)
}

impl Value {
    /// What to call it in a message.
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

    /// The tree, of which no message shows a value.
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

    /// How a message shows a text of this node.
    pub(crate) fn shown(&self, text: &str) -> String {
        // An address with an `@` in it carries a password, one with a `?` perhaps a token.
        if self.hidden || text.contains(['@', '?']) {
            "this value".to_owned()
        } else {
            format!("`{text}`")
        }
    }

    /// The node for who wants text: what the variable held, or the scalar as it is written.
    pub(crate) fn text(&self) -> Option<&str> {
        match (&self.raw, &self.value) {
            // An empty variable is nothing at all, as an empty value is.
            (Some(raw), _) => Some(raw.as_str()).filter(|raw| !raw.is_empty()),
            (None, Value::Scalar(scalar)) => Some(&scalar.text),
            (None, _) => None,
        }
    }

    /// The number of nodes in this tree.
    pub(crate) fn size(&self) -> usize {
        let children: usize = match &self.value {
            Value::Null | Value::Scalar(_) | Value::Reported => 0,
            Value::List(items) => items.iter().map(Self::size).sum(),
            Value::Map(entries) => entries.iter().map(|entry| entry.node.size()).sum(),
        };
        children.saturating_add(1)
    }

    /// Lays `over` on top, as the Collector does: maps are merged key by key, anything else
    /// (lists, scalars, and a null where a map was) takes the place of what is below.
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

    /// The node at the end of a path of fresh maps: what `--set a::b=c` stands for. The path is
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
