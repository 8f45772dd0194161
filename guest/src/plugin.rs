//! The parts that an author writes: a struct that implements [`Plugin`], with its manifest.

use std::time::Duration;

use serde::de::DeserializeOwned;
use spandrel_wire::Verdict;

use crate::batch::Batch;
pub use crate::bindings::spandrel::plugin::types::{Dispatch, DrainReason};

/// A plugin: one struct, made from its config, that judges batches of spans.
///
/// Only [`configure`](Self::configure) and [`process`](Self::process) must be written. The host
/// makes several instances of a plugin and calls each from one thread at a time.
pub trait Plugin: Sized + 'static {
    /// The type of the stage's `config`. Put `#[serde(deny_unknown_fields)]` on it: then a misspelt
    /// key is an error that the operator sees before anything is swapped.
    type Config: DeserializeOwned;

    /// Returns the plugin's description of itself: dispatch, drop reasons, tick interval.
    fn manifest(&self) -> Manifest {
        Manifest::new()
    }

    /// Makes the plugin. The operator sees the error.
    ///
    /// # Errors
    /// Returns any problem with the config that its type cannot express.
    fn configure(config: Self::Config) -> Result<Self, String>;

    /// Judges one batch. Spans that it does not touch are kept as they came.
    fn process(&mut self, batch: &mut Batch);

    /// Runs at the interval that the manifest asks for.
    fn tick(&mut self) {}

    /// Releases held spans within `deadline`.
    fn drain(&mut self, reason: DrainReason, deadline: Duration) {
        let _: (DrainReason, Duration) = (reason, deadline);
    }

    /// Returns the state that another generation should take over, if there is any. Write it with
    /// [`state::to_bytes`](crate::state::to_bytes). The manifest's
    /// [`state_version`](Manifest::state_version) names its format.
    ///
    /// A snapshot changes nothing. The host may use it only to try a candidate, and then this
    /// instance continues. So write held spans by reference, and settle none here.
    fn snapshot(&mut self) -> Option<Vec<u8>> {
        None
    }

    /// Takes over a state that another generation wrote as `version`, in addition to what this
    /// instance already knows. Read it with [`state::from_bytes`](crate::state::from_bytes).
    ///
    /// At a swap this instance is fresh. When a canary ends, this instance has already worked, and
    /// takes over the state of the other generation: so add up counts, unite sets, and keep every
    /// held span. If both together would exceed a limit, the limit still applies.
    ///
    /// Versions that older releases of the plugin wrote should be readable for as long as these
    /// releases may run somewhere. Refuse a newer version with
    /// [`state::unreadable`](crate::state::unreadable): it arrives when a swap is rolled back.
    ///
    /// # Errors
    /// Returns an error if this plugin cannot read the state. The swap continues without it, and
    /// the held spans are offered to this instance as a batch. The plugin must not have changed
    /// then. Handles from a refused state are invalid: destroying them before the error is returned
    /// has no effect.
    fn restore(&mut self, version: u32, state: &[u8]) -> Result<(), String> {
        let _: &[u8] = state;
        Err(format!(
            "no state is carried; version {version} was offered"
        ))
    }
}

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

    /// Sets the version of the format that [`Plugin::snapshot`] writes, from 1. Without a version
    /// no state is carried over.
    pub const fn state_version(mut self, version: u32) -> Self {
        self.state_version = version;
        self
    }

    /// Asks for [`Plugin::tick`] at this interval, in whole milliseconds.
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
