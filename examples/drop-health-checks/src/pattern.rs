//! One pattern, in the cheapest form that means the same.

use spandrel_guest::Glob;

/// What an operator wrote, by how it is compared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Pattern {
    /// No `*`.
    Exact(String),
    /// One `*`, at the end.
    Prefix(String),
    /// `*` elsewhere.
    Glob(Glob),
}

impl From<String> for Pattern {
    fn from(text: String) -> Self {
        match text.split_once('*') {
            None => Self::Exact(text),
            Some((prefix, "")) => Self::Prefix(prefix.to_owned()),
            Some(_) => Self::Glob(Glob::from(text)),
        }
    }
}

impl Pattern {
    pub(crate) fn matches(&self, text: &str) -> bool {
        match self {
            Self::Exact(whole) => text == whole,
            Self::Prefix(prefix) => text.starts_with(prefix.as_str()),
            Self::Glob(glob) => glob.matches(text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each form means what its text says.
    #[test]
    fn forms_are_chosen_by_their_stars() {
        let pattern = |text: &str| Pattern::from(text.to_owned());
        assert_eq!(pattern("/healthz"), Pattern::Exact("/healthz".to_owned()));
        assert_eq!(
            pattern("kube-probe/*"),
            Pattern::Prefix("kube-probe/".to_owned())
        );
        assert_eq!(pattern("*"), Pattern::Prefix(String::new()));
        assert!(pattern("/*/health").matches("/v1/health"));
        assert!(!pattern("/*/health").matches("/v1/healthy"));
        assert!(!pattern("/healthz").matches("/healthz/db"));
    }
}
