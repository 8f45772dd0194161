//! The causes of changes.

/// The cause of a change: a word for the log and the history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trigger {
    /// A user of the admin API.
    Admin,
    /// The module's file changed.
    File,
    /// The configuration changed, or SIGHUP.
    Reload,
    /// A generation that did not pass its probation.
    Probation,
    /// A plugin that was missing before.
    Source,
}

impl Trigger {
    /// Returns the word for the log and the history.
    pub fn label(self) -> &'static str {
        match self {
            Self::Admin => "admin",
            Self::File => "file",
            Self::Reload => "reload",
            Self::Probation => "probation",
            Self::Source => "source",
        }
    }
}
