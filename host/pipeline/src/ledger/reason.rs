//! Why items were dropped.

/// Why a stage dropped items.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// The plugin's own reason, by its index in the manifest.
    Plugin(u8),
    /// The plugin let go of a held item without a word.
    Undisposed,
    /// The plugin failed and the stage says `on_fault: drop`.
    Fault,
    /// Held beyond the stage's limits, and the stage says `on_fault: drop`.
    HeldLimit,
    /// Still held after the last drain, and the stage says `on_fault: drop`.
    Undrained,
}

impl Reason {
    /// The reason that a verdict or outcome byte stands for (see `wit/v0.1/types.wit`).
    pub(crate) fn from_code(code: u8) -> Self {
        match code {
            u8::MAX => Self::Undisposed,
            code => Self::Plugin(code.saturating_sub(2)),
        }
    }

    /// The name of a reason that is not in the plugin's manifest.
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

/// What was full when items were dropped for want of room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Full {
    /// The queues of exporters.
    Queues,
    /// The inputs of the shards, which are busy with other batches.
    Shards,
}

impl Full {
    /// The reason, in metrics and logs.
    pub fn label(self) -> &'static str {
        match self {
            Self::Queues => "queue_full",
            Self::Shards => "shards_busy",
        }
    }
}
