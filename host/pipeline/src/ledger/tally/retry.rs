//! Items that are tried again after a stage failed on them.

use std::sync::Arc;

use super::Tally;

/// The way in which items come to a stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Retry {
    /// They come for the first time in this process.
    First,
    /// They come again, because this stage failed on them.
    Failed,
    /// They come again: they came through here before a later stage failed.
    Passed,
}

impl Tally {
    /// Marks that these items are tried again after this stage failed on them.
    pub(crate) fn fail_at(&mut self, stage: Option<Arc<str>>) {
        self.failed_at = stage;
    }

    /// Returns how these items come to this stage. If it is the stage that failed on them, forgets
    /// that.
    pub(crate) fn try_again_at(&mut self, stage: &str) -> Retry {
        match self.failed_at.as_deref() {
            None => Retry::First,
            Some(failed) if failed == stage => {
                self.failed_at = None;
                Retry::Failed
            }
            Some(_) => Retry::Passed,
        }
    }
}
