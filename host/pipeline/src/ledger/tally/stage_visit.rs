//! Items that are tried again after a stage failed on them.

/// The way in which items come to a stage: a first visit, or one that follows a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StageVisit {
    /// They come for the first time in this process.
    First,
    /// They come again, because this stage failed on them.
    AfterFailure,
    /// They come again: they came through here before a later stage failed.
    AfterPass,
}
