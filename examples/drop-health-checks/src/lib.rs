//! Drops the spans of health checks: those that match any of the conditions, unless they failed.

mod conditions;
mod config;
mod pattern;

use spandrel_guest::prelude::*;

use conditions::Conditions;
pub use config::Config;

/// The reason why spans are dropped, as the ledger shows it.
const HEALTH_CHECK: Reason = Reason(0);

/// The plugin: the conditions for a health check, and the choice to keep failed ones.
#[derive(Debug)]
pub struct DropHealthChecks {
    conditions: Conditions,
    keep_errors: bool,
}

impl Plugin for DropHealthChecks {
    type Config = Config;

    fn manifest(&self) -> Manifest {
        Manifest::new().drop_reasons(&["health_check"])
    }

    fn configure(config: Config) -> Result<Self, String> {
        let keep_errors = config.keep_errors;
        Ok(Self {
            conditions: Conditions::new(&config)?,
            keep_errors,
        })
    }

    fn process(&mut self, batch: &mut Batch) {
        for span in batch.spans() {
            // Few spans match, so `has_failed` is not called for the others.
            if self.conditions.match_span(&span) && !(self.keep_errors && span.has_failed()) {
                span.drop(HEALTH_CHECK);
            }
        }
    }
}

export!(DropHealthChecks);

#[cfg(test)]
mod tests;
