//! The time limits of a drain.

use std::time::Duration;

use spandrel_config::Config;

/// The time limits of a drain.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Timing {
    /// The limit for all phases together, the delay included.
    pub(crate) timeout: Duration,
    /// The time to go on accepting after readiness is gone.
    pub(crate) delay: Duration,
}

impl Timing {
    pub(crate) fn of(config: &Config) -> Self {
        Self {
            timeout: config.service.drain_timeout,
            delay: config.service.drain_delay,
        }
    }
}
