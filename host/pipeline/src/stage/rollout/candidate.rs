//! A candidate that runs in a slot beside the running generation.

use std::sync::Arc;

use tokio::time::Instant;

use super::canary::Canary;
use super::shadow::Shadow;
use crate::plugin::Generation;
use crate::stage::spec::{Mode, StageSpec};

/// A candidate, by the part of the traffic that it gets.
pub(super) enum RunningCandidate {
    Canary(Box<Canary>),
    Shadow(Box<Shadow>),
}

impl RunningCandidate {
    fn generation(&self) -> &Arc<dyn Generation> {
        match self {
            Self::Canary(canary) => canary.runner.generation(),
            Self::Shadow(shadow) => shadow.generation(),
        }
    }

    /// Returns the time when its next tick is due.
    pub(super) fn next_tick(&self) -> Option<Instant> {
        match self {
            Self::Canary(canary) => Some(canary.runner.next_tick()),
            Self::Shadow(shadow) => shadow.next_tick(),
        }
    }

    /// Returns true if it holds items of the stage. A shadow has only copies.
    pub(super) fn holds(&self) -> bool {
        match self {
            Self::Canary(canary) => canary.runner.holds(),
            Self::Shadow(_) => false,
        }
    }

    /// Returns true if `spec` wants this candidate in this mode. A canary that becomes the stage's
    /// own generation is no candidate any more.
    pub(super) fn is_wanted(&self, spec: &StageSpec) -> bool {
        let generation = self.generation();
        let Some(wanted) = &spec.beside else {
            return false;
        };
        let same_mode = match self {
            Self::Canary(_) => {
                matches!(wanted.mode, Mode::Canary(_)) && !Arc::ptr_eq(generation, &spec.generation)
            }
            Self::Shadow(_) => wanted.mode == Mode::Shadow,
        };
        same_mode && Arc::ptr_eq(generation, &wanted.generation)
    }

    /// Ends a candidate that holds nothing.
    pub(super) fn end(self) {
        match self {
            Self::Canary(canary) => canary.runner.end(),
            Self::Shadow(shadow) => drop(shadow),
        }
    }
}
