//! What an author writes: a struct that is a [`Plugin`].

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
    /// The stage's `config`. Put `#[serde(deny_unknown_fields)]` on it: then a misspelt key is an
    /// error that the operator sees before anything is swapped.
    type Config: DeserializeOwned;

    /// What the plugin says of itself: dispatch, drop reasons, tick interval.
    fn manifest(&self) -> Manifest {
        Manifest::new()
    }

    /// Makes the plugin. The error is shown to the operator.
    ///
    /// # Errors
    /// Whatever is wrong with the config that its type cannot say.
    fn configure(config: Self::Config) -> Result<Self, String>;

    /// Judges one batch: what is not touched is kept as it came.
    fn process(&mut self, batch: &mut Batch);

    /// Called at the interval that the manifest asks for.
    fn tick(&mut self) {}

    /// Called when held spans should be let go, within `deadline`.
    fn drain(&mut self, reason: DrainReason, deadline: Duration) {
        let _: (DrainReason, Duration) = (reason, deadline);
    }

    /// The state that another generation should take over, if there is any:
    /// [`state::to_bytes`](crate::state::to_bytes). The manifest's
    /// [`state_version`](Manifest::state_version) says what it is written in.
    ///
    /// A snapshot changes nothing. It may be one to try a candidate with, and then this instance goes
    /// on: so write held spans by reference, and settle none here.
    fn snapshot(&mut self) -> Option<Vec<u8>> {
        None
    }

    /// Takes over a state that another generation wrote as `version`, in addition to what this one
    /// knows already: [`state::from_bytes`](crate::state::from_bytes).
    ///
    /// At a swap this instance is fresh. When a canary ends it has worked, and takes over what the
    /// generation beside it knew: so add up counts, unite sets, and keep every held span. A limit that
    /// the two together would pass holds here, too.
    ///
    /// Versions that older releases of the plugin wrote should be read for as long as these may run
    /// somewhere. A newer one is refused with [`state::unreadable`](crate::state::unreadable): it comes
    /// when a swap is rolled back.
    ///
    /// # Errors
    /// When this plugin cannot read it: the swap goes on without it, and what is held is offered to
    /// this instance as a batch. Nothing of the plugin may have changed then. Handles out of a state
    /// that is refused have no meaning: destroyed before the error is returned, they say nothing.
    fn restore(&mut self, version: u32, state: &[u8]) -> Result<(), String> {
        let _: &[u8] = state;
        Err(format!(
            "no state is carried; version {version} was offered"
        ))
    }
}

/// Why a span is dropped: an index into the manifest's [`drop_reasons`](Manifest::drop_reasons).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Reason(pub u8);

impl Reason {
    /// The byte that says so in a verdict.
    pub(crate) fn outcome(self) -> u8 {
        Verdict::Drop(self.0).to_byte()
    }
}

/// What a plugin says of itself, built in one expression:
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
    /// Any instance may get any batch; no ticks, no reasons, nothing held, no state.
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

    /// The plugin's name; by default that of its package.
    pub const fn name(mut self, name: &'static str) -> Self {
        self.name = Some(name);
        self
    }

    /// The plugin's version; by default that of its package.
    pub const fn version(mut self, version: &'static str) -> Self {
        self.version = Some(version);
        self
    }

    /// How batches reach the instances.
    pub const fn dispatch(mut self, dispatch: Dispatch) -> Self {
        self.dispatch = dispatch;
        self
    }

    /// The names that [`Reason`]s refer to, by index; at most 250.
    pub const fn drop_reasons(mut self, names: &'static [&'static str]) -> Self {
        self.drop_reasons = names;
        self
    }

    /// Says that spans may be held. Without it a hold is a fault.
    pub const fn holds(mut self) -> Self {
        self.holds = true;
        self
    }

    /// The version of what [`Plugin::snapshot`] writes, from 1. Without one nothing is carried.
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
