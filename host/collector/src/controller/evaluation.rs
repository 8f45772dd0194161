//! Evaluates what was published: generations on probation, canaries, shadows.

use std::time::Duration;

use spandrel_config::id::Id;
use spandrel_pipeline::stage::Mode;
use tokio::time::{Instant, sleep_until};
use tracing::error;

use crate::controller::stage_change::StageChange;
use crate::stage::Stage;
use crate::stage::probation::{Verdict, judge};
use crate::stage::readings::READ_EVERY;
use crate::stage::rollout::Watch;
use crate::state::CollectorState;
use crate::trigger::Trigger;

/// The interval of looks at what is on probation. The reaction to what shows is due within a
/// second.
const EVALUATE_EVERY: Duration = Duration::from_millis(200);

/// The delay before another attempt at something that failed for want of room or of an instance.
pub(super) const RETRY_AFTER: Duration = Duration::from_secs(5);

/// The action that is due for a generation.
enum Action {
    /// The generation stays, and is not watched any more.
    Pass,
    RollBack(String),
    Promote,
    Cancel(String),
}

/// The schedule of evaluations: often while a generation is on probation or beside another, now and
/// then otherwise, to know later what is usual.
pub(super) struct Evaluation {
    /// The time of the next reading of figures.
    read_at: Instant,
    at: Instant,
}

impl Evaluation {
    pub(super) fn new() -> Self {
        Self {
            read_at: Instant::now(),
            at: Instant::now(),
        }
    }

    /// Waits for the time of the next evaluation.
    pub(super) async fn wait(&self) {
        sleep_until(self.at).await;
    }

    /// Makes an evaluation due now: there is something new to watch.
    pub(super) fn set_due(&mut self) {
        self.at = Instant::now();
    }

    /// Looks at every generation, and does what its figures call for.
    pub(super) async fn run(&mut self, state: &mut CollectorState) {
        if self.read_at <= Instant::now() {
            self.read_at = Instant::now() + READ_EVERY;
            state.read_figures();
        }
        let mut next = self.read_at;
        for id in state.stages().ids() {
            show_shadow(state, &id).await;
            let action = action(state, &id);
            let change = StageChange::new(state, &id, Trigger::Probation);
            let done = match action {
                None => Ok(()),
                Some(Action::Pass) => change.pass().await,
                Some(Action::RollBack(why)) => change.roll_back(&why).await.map(drop),
                Some(Action::Promote) => change.promote(Watch::Nothing).await.map(drop),
                Some(Action::Cancel(why)) => change.cancel(&why).await.map(drop),
            };
            let now = Instant::now();
            match done {
                Ok(()) => {
                    let stage = state.stages().get(&id);
                    if stage.is_some_and(|stage| stage.rollout().is_watched()) {
                        next = next.min(now + EVALUATE_EVERY);
                    }
                }
                Err(refusal) => {
                    error!(
                        stage = %id,
                        error = &refusal as &dyn std::error::Error,
                        "the end of a probation could not be acted on, trying again"
                    );
                    next = next.min(now + RETRY_AFTER);
                }
            }
        }
        self.at = next;
    }
}

/// Returns the action that the figures of a stage call for.
fn action(state: &CollectorState, id: &Id) -> Option<Action> {
    let stage = state.stages().get(id)?;
    of_probation(state, stage).or_else(|| of_canary(state, stage))
}

fn of_probation(state: &CollectorState, stage: &Stage) -> Option<Action> {
    let rollout = stage.rollout();
    let probation = rollout.probation()?;
    let figures = state
        .pipelines()
        .figures(stage.id(), stage.running().number());
    let new = figures.since(probation.before);
    let old = rollout.previous().map(|_| probation.baseline);
    let config = probation.watch.config(stage.wasm());
    match judge(&config, probation.since.elapsed(), &new, old.as_ref()) {
        Verdict::Undecided => None,
        Verdict::Failed(why) if old.is_some() => Some(Action::RollBack(why)),
        // Without a previous generation there is nothing to roll back to. Only the fault policy and
        // the breaker protect the stage.
        Verdict::Passed | Verdict::Failed(_) => Some(Action::Pass),
    }
}

fn of_canary(state: &CollectorState, stage: &Stage) -> Option<Action> {
    let candidate = stage.rollout().candidate()?;
    if candidate.mode == Mode::Shadow {
        return None;
    }
    let of = |number| state.pipelines().figures(stage.id(), number);
    let new = of(candidate.loaded.number());
    let old = of(stage.running().number()).since(candidate.running_before);
    let config = candidate.watch.config(stage.wasm());
    match judge(&config, candidate.since.elapsed(), &new, Some(&old)) {
        Verdict::Undecided => None,
        Verdict::Passed => Some(Action::Promote),
        Verdict::Failed(why) => Some(Action::Cancel(why)),
    }
}

/// Keeps the report of a shadow up to date.
async fn show_shadow(state: &CollectorState, id: &Id) {
    let Some(stage) = state.stages().get(id) else {
        return;
    };
    let candidate = stage.rollout().candidate();
    if let Some(shadow) = candidate.filter(|it| it.mode == Mode::Shadow) {
        let numbers = (stage.running().number(), shadow.loaded.number());
        let comparison = state.pipelines().comparison(id).await;
        state.status().set_shadow(id.as_str(), numbers, comparison);
    }
}
