//! The trait that an author implements.

use std::time::Duration;

use serde::de::DeserializeOwned;

use crate::batch::Batch;
pub use crate::bindings::spandrel::plugin::types::DrainReason;
use crate::manifest::Manifest;

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
