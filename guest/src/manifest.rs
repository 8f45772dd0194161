//! A plugin's description of itself.

use std::time::Duration;

use spandrel_wire::Verdict;

pub use crate::bindings::spandrel::plugin::types::Dispatch;

/// The reason why a span is dropped: an index into the manifest's
/// [`drop_reasons`](Manifest::drop_reasons).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Reason(pub u8);

impl Reason {
    /// Returns the verdict byte that drops a span for this reason.
    pub(crate) fn outcome(self) -> u8 {
        Verdict::Drop(self.0).to_byte()
    }
}

/// A plugin's description of itself, built in one expression:
///
/// ```
/// # use spandrel_guest::prelude::*;
/// # use std::time::Duration;
/// const TOO_OLD: Reason = Reason(0);
/// let manifest = Manifest::new()
///     .dispatch(Dispatch::ByTrace)
///     .drop_reasons(&["too_old"])
///     .tick_interval(Duration::from_millis(250));
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct Manifest {
    pub(crate) name: Option<&'static str>,
    pub(crate) version: Option<&'static str>,
    pub(crate) dispatch: Dispatch,
    pub(crate) drop_reasons: &'static [&'static str],
    pub(crate) holds: bool,
    pub(crate) state_version: u32,
    pub(crate) tick_interval: Duration,
}

impl Manifest {
    /// Makes the default manifest: any instance may get any batch, and the plugin has no ticks, no
    /// reasons, no held spans and no state.
    pub const fn new() -> Self {
        Self {
            name: None,
            version: None,
            dispatch: Dispatch::Any,
            drop_reasons: &[],
            holds: false,
            state_version: 0,
            tick_interval: Duration::ZERO,
        }
    }

    /// Sets the plugin's name. The default is the name of its package.
    pub const fn name(mut self, name: &'static str) -> Self {
        self.name = Some(name);
        self
    }

    /// Sets the plugin's version. The default is the version of its package.
    pub const fn version(mut self, version: &'static str) -> Self {
        self.version = Some(version);
        self
    }

    /// Sets how batches are assigned to instances.
    pub const fn dispatch(mut self, dispatch: Dispatch) -> Self {
        self.dispatch = dispatch;
        self
    }

    /// Sets the names that [`Reason`]s refer to, by index; at most 250.
    pub const fn drop_reasons(mut self, names: &'static [&'static str]) -> Self {
        self.drop_reasons = names;
        self
    }

    /// Declares that the plugin may hold spans. Without it a hold is a fault.
    pub const fn holds(mut self) -> Self {
        self.holds = true;
        self
    }

    /// Sets the version of the format that [`Plugin::snapshot`](crate::Plugin::snapshot) writes,
    /// from 1. Without a version no state is carried over.
    pub const fn state_version(mut self, version: u32) -> Self {
        self.state_version = version;
        self
    }

    /// Asks for [`Plugin::tick`](crate::Plugin::tick) at this interval, in whole milliseconds.
    pub const fn tick_interval(mut self, interval: Duration) -> Self {
        self.tick_interval = interval;
        self
    }
}

impl Default for Manifest {
    fn default() -> Self {
        Self::new()
    }
}
