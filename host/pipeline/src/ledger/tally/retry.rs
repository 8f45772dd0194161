//! Items that are tried again after a stage failed on them.

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
