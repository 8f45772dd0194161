//! Items that are tried again after a stage failed on them.

use std::sync::Arc;

use super::Tally;

/// How items come to a stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Retry {
    /// For the first time in this process.
    First,
    /// Again: this stage failed on them.
    Failed,
    /// Again: they came through here before a later stage failed.
    Passed,
}

impl Tally {
    /// They are tried again after this stage failed on them.
    pub(crate) fn fail_at(&mut self, stage: Option<Arc<str>>) {
        self.failed_at = stage;
    }

    /// They come to this stage now.
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
