//! Parses YAML text to a tree with locations. Only the events of the parser are used, so that every
//! node keeps its line and column through merging.

use std::collections::HashMap;
use std::sync::Arc;

use granit_parser::{Event, Parser, ScalarStyle, ScanError, Span, StrInput, Tag};

use super::scalar;
use super::tree::{Entry, Node, Scalar, Value};
use crate::problem::{Location, Problem};

/// The most nodes of a tree, far more than any real configuration has. It bounds what a few aliases
/// of aliases can grow into.
const MAX_NODES: usize = 100_000;

/// Parses one document. Stops at the first syntax error, because everything after it is guesswork.
pub(crate) fn parse(source: &Arc<str>, text: &str) -> Result<Node, Problem> {
    Builder::new(source, text).document()
}

/// Parses one value from a variable or the command line. A single line with a ` #` in it is not
/// YAML with a comment but text with a `#`, as in a password: all of it is the value. Comments in
/// several lines of YAML are comments.
pub(crate) fn parse_value(source: &Arc<str>, text: &str) -> Result<Node, Problem> {
    let mut builder = Builder::new(source, text);
    let node = builder.document()?;
    let has_lines = text.trim().contains('\n');
    let has_parts = matches!(node.value, Value::List(_) | Value::Map(_));
    if builder.has_comments && !(has_lines && has_parts) {
        let (text, plain) = (text.to_owned(), false);
        return Ok(Node::new(node.at, Value::Scalar(Scalar { text, plain })));
    }
    Ok(node)
}

struct Builder<'a, 'i> {
    events: Parser<'i, StrInput<'i>>,
    source: &'a Arc<str>,
    anchors: HashMap<usize, Node>,
    nodes: usize,
    has_comments: bool,
}

impl<'a, 'i> Builder<'a, 'i> {
    fn new(source: &'a Arc<str>, text: &'i str) -> Self {
        Self {
            events: Parser::new_from_str(text),
            source,
            anchors: HashMap::new(),
            nodes: 0,
            has_comments: false,
        }
    }

    fn document(&mut self) -> Result<Node, Problem> {
        let mut root = None;
        loop {
            let (event, span) = self.next()?;
            match event {
                Event::StreamEnd => break,
                Event::StreamStart | Event::DocumentStart(..) | Event::DocumentEnd => {}
                event if root.is_none() => root = Some(self.node(event, &span)?),
                _ => {
                    let what = "there is more than one YAML document";
                    return Err(Problem::at(&self.location(&span), "", what)
                        .instead("keep one, or give each its own --config"));
                }
            }
        }
        Ok(root.unwrap_or_else(|| Node::new(Location::start(self.source), Value::Null)))
    }

    fn next(&mut self) -> Result<(Event<'i>, Span), Problem> {
        loop {
            match self.events.next_event() {
                Some(Ok((Event::Comment(..), _))) => self.has_comments = true,
                Some(Ok(pair)) => return Ok(pair),
                Some(Err(error)) => return Err(self.syntax(&error)),
                None => return Ok((Event::StreamEnd, Span::default())),
            }
        }
    }

    fn node(&mut self, event: Event<'i>, span: &Span) -> Result<Node, Problem> {
        let at = self.location(span);
        self.count(1, &at)?;
        let (value, anchor) = match event {
            Event::Alias(anchor) => return self.alias(anchor, at),
            Event::Scalar(text, style, anchor, tag) => {
                let plain = match tag {
                    None => style == ScalarStyle::Plain,
                    Some(tag) => is_plain(&tag, &at)?,
                };
                let value = if plain && scalar::is_null(&text) {
                    Value::Null
                } else {
                    let text = text.into_owned();
                    Value::Scalar(Scalar { text, plain })
                };
                (value, anchor)
            }
            Event::SequenceStart(_, anchor, tag) => {
                tag.map_or(Ok(true), |tag| is_plain(&tag, &at))?;
                (self.list()?, anchor)
            }
            Event::MappingStart(_, anchor, tag) => {
                tag.map_or(Ok(true), |tag| is_plain(&tag, &at))?;
                (self.map()?, anchor)
            }
            _ => return Err(Problem::at(&at, "", "a value is missing here")),
        };
        let node = Node::new(at, value);
        if anchor != 0 {
            self.anchors.insert(anchor, node.clone());
        }
        Ok(node)
    }

    /// Returns a copy of the anchored node. Its children keep the places where they were written.
    fn alias(&mut self, anchor: usize, at: Location) -> Result<Node, Problem> {
        let Some(node) = self.anchors.get(&anchor).cloned() else {
            let what = "this alias stands inside of what it refers to";
            return Err(Problem::at(&at, "", what));
        };
        self.count(node.size(), &at)?;
        Ok(Node { at, ..node })
    }

    fn count(&mut self, more: usize, at: &Location) -> Result<(), Problem> {
        self.nodes = self.nodes.saturating_add(more);
        if self.nodes <= MAX_NODES {
            return Ok(());
        }
        let what = format!("the configuration has more than {MAX_NODES} values");
        Err(Problem::at(at, "", what))
    }

    fn list(&mut self) -> Result<Value, Problem> {
        let mut items = Vec::new();
        loop {
            match self.next()? {
                (Event::SequenceEnd, _) => return Ok(Value::List(items)),
                (event, span) => items.push(self.node(event, &span)?),
            }
        }
    }

    fn map(&mut self) -> Result<Value, Problem> {
        let mut entries: Vec<Entry> = Vec::new();
        let mut merged = Vec::new();
        loop {
            let (event, span) = self.next()?;
            let at = self.location(&span);
            let (key, plain) = match event {
                Event::MappingEnd => break,
                Event::Scalar(text, style, ..) => (text.into_owned(), style == ScalarStyle::Plain),
                _ => return Err(Problem::at(&at, "", "a key must be a single value")),
            };
            let (event, span) = self.next()?;
            let node = self.node(event, &span)?;
            if plain && key == "<<" {
                merged.push(node);
            } else if let Some(first) = entries.iter().find(|entry| entry.key == key) {
                let what = format!("the key `{key}` is here a second time");
                let first = format!("the first is in line {}", first.at.line);
                return Err(Problem::at(&at, "", what).instead(first));
            } else {
                entries.push(Entry { key, at, node });
            }
        }
        for node in merged {
            merge_key(&mut entries, node)?;
        }
        Ok(Value::Map(entries))
    }

    fn location(&self, span: &Span) -> Location {
        self.mark(span.start.line(), span.start.col())
    }

    fn mark(&self, line: usize, column: usize) -> Location {
        Location {
            source: Arc::clone(self.source),
            line: line.max(1),
            column: column.saturating_add(1),
        }
    }

    fn syntax(&self, error: &ScanError) -> Problem {
        let marker = error.marker();
        let what = format!("not valid YAML: {}", error.info());
        Problem::at(&self.mark(marker.line(), marker.col()), "", what)
    }
}

/// Returns true if a value with this tag has the type that its text looks like: `!!str 1` is text,
/// `!!int "1"` is a number. With any other tag the value would not be what it says. No message
/// shows the tag: on the command line it may be part of a secret.
fn is_plain(tag: &Tag, at: &Location) -> Result<bool, Problem> {
    match (tag.handle(), tag.suffix()) {
        ("tag:yaml.org,2002:", "str") | ("", "!") | ("!", "") => Ok(false),
        ("tag:yaml.org,2002:", "bool" | "float" | "int" | "map" | "null" | "seq") => Ok(true),
        _ => {
            let problem = Problem::at(at, "", "this tag is not read here");
            Err(problem.instead("remove it; write text that begins with `!` in quotes"))
        }
    }
}

/// Merges `<<: *defaults`: adds the keys of the named maps that are not given beside it.
fn merge_key(entries: &mut Vec<Entry>, node: Node) -> Result<(), Problem> {
    match node.value {
        Value::Map(more) => {
            for entry in more {
                if !entries.iter().any(|known| known.key == entry.key) {
                    entries.push(entry);
                }
            }
            Ok(())
        }
        Value::List(nodes) => {
            for node in nodes {
                merge_key(entries, node)?;
            }
            Ok(())
        }
        Value::Null | Value::Scalar(_) | Value::Reported => {
            let what = "`<<` takes a map or a list of maps";
            Err(Problem::at(&node.at, "", what).instead("write an alias such as `<<: *defaults`"))
        }
    }
}
