//! The watch on a generation, and the record of one that was taken back.

use std::time::SystemTime;

use crate::stage::probation::Figures;
use spandrel_config::probation::ProbationConfig;
use spandrel_config::processor::Wasm;
use tokio::time::Instant;

use crate::report::SwapRequest;

/// The probation of a generation.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Probation {
    pub(crate) since: Instant,
    /// The figures from before the probation, for example as a shadow.
    pub(crate) before: Figures,
    /// The figures of the generation that a rollback brings back, in its last minute or so.
    pub(crate) baseline: Figures,
    pub(crate) watch: Watch,
}

/// The evidence that counts against a generation that was just published, or runs beside another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Watch {
    /// Everything counts.
    #[default]
    All,
    /// Everything but its drops: whoever asked for it expects those.
    AllButDrops,
    /// The generation is not on probation.
    Nothing,
}

impl Watch {
    /// Returns the watch that a request asks for.
    pub fn of(request: &SwapRequest) -> Self {
        match (request.no_probation, request.expect_drops) {
            (true, _) => Self::Nothing,
            (false, true) => Self::AllButDrops,
            (false, false) => Self::All,
        }
    }

    /// Returns the criteria by which it is judged in this stage.
    pub(crate) fn config(self, stage: &Wasm) -> ProbationConfig {
        ProbationConfig {
            expects_drops: self == Self::AllButDrops,
            ..stage.probation.clone()
        }
    }
}

/// A generation that was taken back automatically. Kept until something else changes in its stage.
#[derive(Clone, Debug)]
pub(crate) struct Reversal {
    /// `rolled back` or `cancelled`.
    pub(crate) event: &'static str,
    pub(crate) number: u64,
    pub(crate) at: SystemTime,
    pub(crate) why: String,
}

impl Reversal {
    pub(crate) fn now(event: &'static str, number: u64, why: &str) -> Self {
        Self {
            event,
            number,
            at: SystemTime::now(),
            why: why.to_owned(),
        }
    }
}
