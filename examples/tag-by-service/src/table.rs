//! The table of services.

use std::collections::{BTreeMap, HashMap};

use serde::Deserialize;
use spandrel_guest::{AttributeValue, Glob};

/// The tags of one service.
pub(crate) type Row = BTreeMap<String, Tag>;

/// Rows by the service's name or pattern, as they stand in the config.
pub(crate) type Rows = BTreeMap<String, Row>;

/// The value of a tag.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(untagged, expecting = "expected a text, a number, true or false")]
pub(crate) enum Tag {
    Bool(bool),
    Int(i64),
    Double(f64),
    Text(String),
}

impl AttributeValue for Tag {
    fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Bool(flag) => flag.write(out),
            Self::Int(number) => number.write(out),
            Self::Double(number) => number.write(out),
            Self::Text(text) => text.write(out),
        }
    }
}

/// The rows, in the form in which they are looked up.
#[derive(Debug)]
pub(crate) struct Table {
    names: HashMap<String, Row>,
    /// The patterns, the most specific first.
    patterns: Vec<(Glob, Row)>,
    default: Row,
}

impl Table {
    pub(crate) fn new(rows: Rows, default: Row) -> Self {
        let (patterns, names): (Vec<_>, Vec<_>) = rows
            .into_iter()
            .partition(|(service, _)| service.contains('*'));
        let mut patterns: Vec<_> = patterns
            .into_iter()
            .map(|(pattern, row)| (Glob::new(pattern), row))
            .collect();
        // The sort is stable: equally specific patterns keep the order of their names.
        patterns.sort_by_key(|(pattern, _)| std::cmp::Reverse(pattern.literal_len()));
        Self {
            names: names.into_iter().collect(),
            patterns,
            default,
        }
    }

    /// Returns the row of a service. A service without a name gets the default.
    ///
    /// SDKs call a service `unknown_service`, or `unknown_service:java` by its process, if nobody
    /// gave it a name. Only patterns that begin with `unknown_service` match it: `*` and `*-worker`
    /// do not.
    pub(crate) fn row(&self, service: Option<&str>) -> &Row {
        let Some(service) = service.filter(|name| !name.is_empty()) else {
            return &self.default;
        };
        let is_nameless = service.starts_with(NAMELESS);
        self.names.get(service).unwrap_or_else(|| {
            self.patterns
                .iter()
                .filter(|(pattern, _)| !is_nameless || pattern.as_str().starts_with(NAMELESS))
                .find(|(pattern, _)| pattern.matches(service))
                .map_or(&self.default, |(_, row)| row)
        })
    }
}

/// The prefix of the name that a service without a name gets.
const NAMELESS: &str = "unknown_service";
