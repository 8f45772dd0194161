//! How a generation is looked after, and what remains of one that was taken back.

use std::time::SystemTime;

use spandrel_plugin::probation::{Figures, ProbationConfig};
use tokio::time::Instant;

use crate::config::processor::Wasm;
use crate::control::api::SwapRequest;

/// A generation is watched.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Probation {
    pub(crate) since: Instant,
    /// What it had done before: as a shadow, for one.
    pub(crate) before: Figures,
    /// What the generation that a rollback brings back did in its last minute or so.
    pub(crate) yardstick: Figures,
    pub(crate) watch: Watch,
}

/// What is evidence against a generation that was just published, or runs beside another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Watch {
    #[default]
    All,
    /// Not what it drops: whoever asked for it expects that.
    AllButDrops,
    /// It is not on probation.
    Nothing,
}

impl Watch {
    /// What a request says.
    pub(crate) fn of(request: &SwapRequest) -> Self {
        match (request.no_probation, request.expect_drops) {
            (true, _) => Self::Nothing,
            (false, true) => Self::AllButDrops,
            (false, false) => Self::All,
        }
    }

    /// By what it is judged in this stage.
    pub(crate) fn config(self, stage: &Wasm) -> ProbationConfig {
        ProbationConfig {
            expects_drops: self == Self::AllButDrops,
            ..stage.probation.clone()
        }
    }
}

/// A generation that was taken back by itself, for as long as nothing else changes in its stage.
#[derive(Clone, Debug)]
pub(crate) struct Undone {
    /// `rolled back` or `cancelled`.
    pub(crate) event: &'static str,
    pub(crate) number: u64,
    pub(crate) at: SystemTime,
    pub(crate) why: String,
}

impl Undone {
    pub(crate) fn now(event: &'static str, number: u64, why: &str) -> Self {
        Self {
            event,
            number,
            at: SystemTime::now(),
            why: why.to_owned(),
        }
    }
}
