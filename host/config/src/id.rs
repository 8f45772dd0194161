//! The name of a configured component: `type` or `type/name`.

use std::fmt;
use std::sync::Arc;

/// The most characters of the part after the `/`, as in the Collector.
const MAX_NAME: usize = 1024;

/// A component's id: its key in the configuration. Cheap to clone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Id(Arc<str>);

impl Id {
    /// Checks a key. The error says what to write instead.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (kind, name) = match text.split_once('/') {
            Some((kind, name)) => (kind, Some(name)),
            None => (text, None),
        };
        let kind_fits = kind.starts_with(|first: char| first.is_ascii_alphabetic())
            && kind
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
            && kind.len() <= 62;
        if !kind_fits {
            return Err(
                "write `type` or `type/name`, the type in letters, digits and `_`".to_owned(),
            );
        }
        // Names appear in log lines, metric labels and error messages.
        let name_fits = name.is_none_or(|name| {
            !name.is_empty()
                && name.len() <= MAX_NAME
                && !name
                    .contains(|c: char| c.is_whitespace() || c.is_control() || "\"`\\".contains(c))
        });
        if !name_fits {
            return Err("write a name after the `/`, without spaces and quotes".to_owned());
        }
        Ok(Self(text.into()))
    }

    /// Returns the type: the part before the `/`.
    pub fn kind(&self) -> &str {
        self.0.split('/').next().unwrap_or_default()
    }

    /// Returns the whole id.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
