//! The life of the collector, for those who must be told of each step, such as the service manager
//! of the system.

use std::time::Duration;

/// The step of its life that the collector is in, and its reloads so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Life {
    /// The step.
    pub phase: Phase,
    /// The number of reloads that have begun. With it, a reader that is late still learns that there
    /// was one.
    pub reloads: u64,
    /// True while a reload is under way.
    pub reloading: bool,
    /// True if the last reload was refused, and everything runs on as it was.
    pub reload_refused: bool,
}

/// A step of the collector's life.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Phase {
    /// It opens what it needs, and accepts nothing yet.
    #[default]
    Starting,
    /// It accepts and exports.
    Running,
    /// It drains.
    Stopping {
        /// The deadline of the drain, from its beginning.
        limit: Duration,
    },
}
