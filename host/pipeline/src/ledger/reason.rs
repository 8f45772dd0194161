//! The reasons why items were dropped.

/// The reason why a stage dropped items.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// The plugin's own reason, by its index in the manifest.
    Plugin(u8),
    /// The plugin let go of a held item without saying what becomes of it.
    Undisposed,
    /// The plugin failed, and the stage says `on_fault: drop`.
    Fault,
    /// The item was held beyond the stage's limits, and the stage says `on_fault: drop`.
    HeldLimit,
    /// The item was still held after the last drain, and the stage says `on_fault: drop`.
    Undrained,
}

impl Reason {
    /// Returns the reason that a verdict or outcome byte stands for (see `wit/v0.1/types.wit`).
    pub(crate) fn from_code(code: u8) -> Self {
        match code {
            u8::MAX => Self::Undisposed,
            code => Self::Plugin(code.saturating_sub(2)),
        }
    }

    /// Returns the name of a reason that is not in the plugin's manifest.
    pub(super) fn label(self) -> &'static str {
        match self {
            Self::Plugin(_) => "unnamed",
            Self::Undisposed => "undisposed",
            Self::Fault => "fault",
            Self::HeldLimit => "held_limit",
            Self::Undrained => "undrained",
        }
    }
}

/// The part of the pipeline that was full when items were dropped for lack of room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FullPart {
    /// The queues of exporters.
    Queues,
    /// The inputs of the shards, which are busy with other batches.
    Shards,
}

impl FullPart {
    /// Returns the reason as it stands in metrics and logs.
    pub fn label(self) -> &'static str {
        match self {
            Self::Queues => "queue_full",
            Self::Shards => "shards_busy",
        }
    }
}
