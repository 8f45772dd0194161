//! The keys that the configuration may have, noted while the readers ask for them. A normal run
//! notes nothing: see [`Problems::noting`](crate::problem::Problems::noting).

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;

/// The form of a value, as the reader of its key asks for it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Form {
    /// Text in a notation that has this name, such as `host:port`.
    Text(&'static str),
    /// One of a few words. `in_any_case` is true if capital letters may stand for small ones.
    Words {
        words: Vec<String>,
        in_any_case: bool,
    },
    /// A whole number.
    Integer { least: Value, most: Value },
    /// A number.
    Number { least: f64, most: f64 },
    /// `true` or `false`.
    Boolean,
    /// A duration. `or_zero` is true if it may be 0 as well.
    Duration {
        least: Duration,
        most: Option<Duration>,
        or_zero: bool,
    },
    /// A number of bytes, or a size with its unit.
    Size { least: u64 },
    /// A list of texts in this notation. A single text is a list of one.
    Texts(&'static str),
    /// A list of maps.
    Maps,
    /// A map whose keys are known.
    Map,
    /// A map whose keys are names that the operator chooses. If types are listed, each key is a
    /// type, or a type with a `/name`.
    Names(&'static [&'static str]),
    /// Anything: a plugin reads it.
    Any,
}

/// The treatment of a key by its reader.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) enum Treatment {
    /// The key has an effect.
    #[default]
    Read,
    /// A key of the Collector that has no effect here, for this reason.
    NoEffect(String),
    /// A key of the Collector that is refused, with the remedy.
    Refused(String),
}

/// A key, as its readers ask for it.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Key {
    /// Usually one; several if the key takes values of several forms.
    pub(crate) forms: Vec<Form>,
    /// The default, if it is a value that could be written, and the key may be left out.
    pub(crate) default: Option<Value>,
    /// True if the section makes no sense without it.
    pub(crate) is_required: bool,
    pub(crate) treatment: Treatment,
}

/// All keys by their paths, in which names that operators choose are replaced.
#[derive(Debug, Default)]
pub(crate) struct Keys {
    all: RefCell<BTreeMap<String, Key>>,
}

impl Keys {
    /// Notes that a reader knows the key.
    pub(crate) fn know(&self, path: &str) {
        self.change(path, |_| {});
    }

    /// Notes the form in which a reader asks for the key, and its default.
    pub(crate) fn ask(&self, path: &str, form: Form, default: Option<Value>) {
        self.change(path, |key| {
            if !key.forms.contains(&form) {
                key.forms.push(form);
            }
            key.default = key.default.take().or(default);
        });
    }

    /// Notes that the section makes no sense without the key.
    pub(crate) fn require(&self, path: &str) {
        self.change(path, |key| key.is_required = true);
    }

    /// Notes how a reader treats the key.
    pub(crate) fn treat(&self, path: &str, treatment: Treatment) {
        self.change(path, |key| key.treatment = treatment);
    }

    /// Returns the keys by their paths.
    pub(crate) fn into_all(self) -> BTreeMap<String, Key> {
        let mut all = self.all.into_inner();
        // The reader of a required key has a value to go on with, so that it finds more problems.
        // That is no default: without the key there is no valid configuration.
        for key in all.values_mut().filter(|key| key.is_required) {
            key.default = None;
        }
        all
    }

    fn change(&self, path: &str, change: impl FnOnce(&mut Key)) {
        change(self.all.borrow_mut().entry(pattern(path)).or_default());
    }
}

/// Returns the path with the names that operators choose replaced: components by their type,
/// pipelines and hosts by a word for what they are, the items of a list by `*`.
pub(crate) fn pattern(path: &str) -> String {
    let parts: Vec<&str> = path.split("::").collect();
    let mut pattern: Vec<&str> = Vec::new();
    for (index, part) in parts.iter().copied().enumerate() {
        let around = pattern.last().copied().unwrap_or_default();
        let kind = part.split('/').next().unwrap_or_default();
        pattern.push(match (index, around) {
            (1, "exporters") if kind == "otlp" => "otlp_grpc",
            (1, "receivers" | "processors" | "exporters" | "extensions") => kind,
            (_, "pipelines") => "PIPELINE",
            (_, "credentials") => "HOST",
            (_, "headers") => "HEADER",
            _ if part.bytes().all(|byte| byte.is_ascii_digit()) => "*",
            _ => part,
        });
    }
    pattern.join("::")
}
