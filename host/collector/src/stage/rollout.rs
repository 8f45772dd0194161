//! The generations of one stage: the running one, the previous one and the candidate.

mod watch;

use spandrel_pipeline::stage::Mode;
use spandrel_supply::Digest;
use tokio::time::Instant;

pub use self::watch::Watch;
pub(crate) use self::watch::{Probation, Reversal};
use crate::stage::loaded::LoadedPlugin;
use crate::stage::probation::Figures;
use crate::trigger::Trigger;

/// A generation beside the running one.
#[derive(Clone, Debug)]
pub(crate) struct Candidate {
    pub(crate) loaded: LoadedPlugin,
    pub(crate) mode: Mode,
    pub(crate) since: Instant,
    /// The figures of the running generation when the candidate began.
    pub(crate) running_before: Figures,
    pub(crate) watch: Watch,
}

/// The running generation of a stage, the previous one and the candidate. A change makes another
/// value of it, which takes the place of this one once the pipelines run it.
#[derive(Clone, Debug)]
pub(crate) struct Rollout {
    running: LoadedPlugin,
    /// The generation that a rollback brings back: the last one before the running one that was not
    /// itself on probation.
    previous: Option<LoadedPlugin>,
    candidate: Option<Candidate>,
    /// The probation of the running generation, while it lasts.
    probation: Option<Probation>,
    reversal: Option<Reversal>,
}

impl Rollout {
    /// Returns the generations of a stage that has run only this one.
    pub(crate) fn new(running: LoadedPlugin) -> Self {
        Self {
            running,
            previous: None,
            candidate: None,
            probation: None,
            reversal: None,
        }
    }

    pub(crate) fn running(&self) -> &LoadedPlugin {
        &self.running
    }

    pub(crate) fn previous(&self) -> Option<&LoadedPlugin> {
        self.previous.as_ref()
    }

    pub(crate) fn candidate(&self) -> Option<&Candidate> {
        self.candidate.as_ref()
    }

    /// Returns the probation of the running generation, while it lasts.
    pub(crate) fn probation(&self) -> Option<Probation> {
        self.probation
    }

    /// Returns the record of the generation that was taken back last.
    pub(crate) fn reversal(&self) -> Option<&Reversal> {
        self.reversal.as_ref()
    }

    /// Returns true if there is a generation on probation or a candidate.
    pub(crate) fn is_watched(&self) -> bool {
        self.probation.is_some() || self.candidate.is_some()
    }

    /// Returns the candidate that ended because another generation than it has taken over since
    /// `before`.
    pub(crate) fn overtaken<'a>(&self, before: &'a Self) -> Option<&'a Candidate> {
        let ended = before.candidate()?;
        let number = ended.loaded.number();
        let candidate = self.candidate();
        let stays = candidate.is_some_and(|candidate| candidate.loaded.number() == number);
        let running = self.running.number();
        (!stays && running != number && running != before.running.number()).then_some(ended)
    }

    /// Returns the generations after `loaded` has replaced the running one, which did `recent` in
    /// its last minute. `before` is what the new one has done already; `watch` says what counts as
    /// evidence against it.
    ///
    /// A generation that is on probation itself is not compared with another, and is not brought
    /// back by a rollback. The generation before it keeps both roles.
    pub(crate) fn with_running(
        &self,
        loaded: LoadedPlugin,
        before: Figures,
        recent: Figures,
        watch: Watch,
    ) -> Self {
        if self.running.generation.is_missing() {
            // A missing plugin has no figures to compare with, and cannot be brought back.
            return Self::new(loaded);
        }
        let (previous, baseline) = match (&self.previous, self.probation) {
            (Some(proved), Some(probation)) => (proved.clone(), probation.baseline),
            _ => (self.running.clone(), recent),
        };
        Self {
            previous: Some(previous),
            probation: (watch != Watch::Nothing).then(|| Probation {
                since: Instant::now(),
                before,
                baseline,
                watch,
            }),
            ..Self::new(loaded)
        }
    }

    /// Returns the generations with a candidate beside the running one.
    pub(crate) fn with_candidate(
        &self,
        loaded: LoadedPlugin,
        mode: Mode,
        running_before: Figures,
        watch: Watch,
    ) -> Self {
        Self {
            candidate: Some(Candidate {
                loaded,
                mode,
                since: Instant::now(),
                running_before,
                watch,
            }),
            reversal: None,
            ..self.clone()
        }
    }

    /// Returns the generations after a rollback to the previous one; `None` if there is none.
    pub(crate) fn rolled_back(&self, by: Trigger, why: &str) -> Option<Self> {
        let from = &self.running;
        Some(Self {
            // A rollback by hand may itself be undone. A generation that failed is not brought
            // back.
            previous: (by == Trigger::Admin).then(|| from.clone()),
            reversal: (by == Trigger::Probation)
                .then(|| Reversal::now("rolled back", from.number(), why)),
            ..Self::new(self.previous.clone()?)
        })
    }

    /// Returns the generations without the candidate, and the candidate; `None` if there is none.
    pub(crate) fn without_candidate(&self, by: Trigger, why: &str) -> Option<(Self, Candidate)> {
        let candidate = self.candidate.clone()?;
        let number = candidate.loaded.number();
        let rollout = Self {
            candidate: None,
            reversal: (by == Trigger::Probation).then(|| Reversal::now("cancelled", number, why)),
            ..self.clone()
        };
        Some((rollout, candidate))
    }

    /// Returns the generations after the running one has passed its probation.
    pub(crate) fn without_probation(&self) -> Self {
        Self {
            probation: None,
            ..self.clone()
        }
    }

    /// Removes generations that may not run any more, so that no rollback or promotion brings one
    /// back. Returns the candidate, if it is one of those.
    pub(crate) fn keep_allowed(
        &mut self,
        is_allowed: impl Fn(Digest) -> bool,
    ) -> Option<Candidate> {
        let fits = |loaded: &LoadedPlugin| is_allowed(loaded.module());
        self.previous = self.previous.take().filter(fits);
        self.candidate.take_if(|candidate| !fits(&candidate.loaded))
    }

    /// Remembers the fate of the state when the running generation took over.
    pub(crate) fn set_state(&mut self, state: &str) {
        state.clone_into(&mut self.running.state);
    }
}
