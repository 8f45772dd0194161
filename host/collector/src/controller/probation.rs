//! Watches what was published: probation, canaries, shadows.

use std::sync::Arc;
use std::time::Duration;

use spandrel_config::id::Id;
use spandrel_pipeline::pipeline::StagesChanged;
use spandrel_pipeline::stage::Mode;
use spandrel_plugin::probation::{Figures, Standing, judge};
use tokio::time::Instant;
use tracing::error;

use crate::controller::Controller;
use crate::stage::rollout::{READ_EVERY, Watch};
use crate::state::CollectorState;
use crate::state::publish::StageEvent;
use crate::trigger::Trigger;

/// The interval of looks at what is on probation. The reaction to what shows is due within a
/// second.
const EVALUATE_EVERY: Duration = Duration::from_millis(200);

/// The delay before another attempt at something that failed for want of room or of an instance.
pub(crate) const RETRY_AFTER: Duration = Duration::from_secs(5);

/// The action that is due for a generation.
enum Due {
    /// The generation stays, and is not watched any more.
    Pass,
    RollBack(String),
    Promote,
    Cancel(String),
}

impl Controller {
    /// Returns true if there is anything to look at.
    pub(crate) fn has_stages(&self) -> bool {
        !self.state.stages.is_empty()
    }

    /// Looks at every generation: often at those that are on probation or beside another, now and
    /// then at the others, to know later what they did.
    pub(crate) async fn evaluate(&mut self) {
        self.take_due_retries();
        let ids: Vec<Id> = self.state.stages.keys().cloned().collect();
        if self.read_at <= Instant::now() {
            self.read_at = Instant::now() + READ_EVERY;
            self.state.read_all(&ids);
        }
        let mut next = self.read_at.min(self.next_retry());
        for id in ids {
            self.state.show_shadow(&id).await;
            let done = match self.state.due(&id) {
                None => Ok(()),
                Some(Due::Pass) => self.state.pass(&id).await,
                Some(Due::RollBack(why)) => {
                    let done = self.state.roll_back(&id, Trigger::Probation, &why).await;
                    done.map(drop)
                }
                Some(Due::Promote) => {
                    let done = self
                        .state
                        .promote(&id, Trigger::Probation, Watch::Nothing)
                        .await;
                    done.map(drop)
                }
                Some(Due::Cancel(why)) => {
                    let done = self.state.cancel(&id, Trigger::Probation, &why).await;
                    done.map(drop)
                }
            };
            let now = Instant::now();
            match done {
                Ok(()) if self.state.is_watched(&id) => next = next.min(now + EVALUATE_EVERY),
                Ok(()) => {}
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
        self.evaluate_at(next);
    }
}

impl CollectorState {
    fn read_all(&mut self, ids: &[Id]) {
        for id in ids {
            let Some(number) = self
                .stages
                .get(id)
                .map(|stage| stage.rollout.running.number())
            else {
                continue;
            };
            let figures = self.figures(id, number);
            if let Some(stage) = self.stages.get_mut(id) {
                stage.read(figures);
            }
        }
    }

    /// Returns true if the stage has a generation on probation or a candidate.
    fn is_watched(&self, id: &Id) -> bool {
        self.stages.get(id).is_some_and(|stage| {
            let rollout = &stage.rollout;
            rollout.probation.is_some() || rollout.candidate.is_some()
        })
    }

    /// Returns the action that the figures of a stage call for.
    fn due(&self, id: &Id) -> Option<Due> {
        let stage = self.stages.get(id)?;
        let rollout = &stage.rollout;
        let of = |number| self.figures(id, number);
        if let Some(probation) = rollout.probation {
            let new = of(rollout.running.number()).since(probation.before);
            let old = rollout.previous.as_ref().map(|_| probation.yardstick);
            let config = probation.watch.config(&stage.wasm);
            match judge(&config, probation.since.elapsed(), &new, old.as_ref()) {
                Standing::Watching => {}
                Standing::Failed(why) if rollout.previous.is_some() => {
                    return Some(Due::RollBack(why));
                }
                // Without a previous generation there is nothing to roll back to. Only the fault
                // policy and the breaker protect the stage.
                Standing::Passed | Standing::Failed(_) => return Some(Due::Pass),
            }
        }
        let candidate = rollout.candidate.as_ref()?;
        if candidate.mode == Mode::Shadow {
            return None;
        }
        let new = of(candidate.loaded.number());
        let old = of(rollout.running.number()).since(candidate.running_before);
        let config = candidate.watch.config(&stage.wasm);
        match judge(&config, candidate.since.elapsed(), &new, Some(&old)) {
            Standing::Watching => None,
            Standing::Passed => Some(Due::Promote),
            Standing::Failed(why) => Some(Due::Cancel(why)),
        }
    }

    /// Returns what a generation did, in all pipelines.
    pub(crate) fn figures(&self, id: &Id, number: u64) -> Figures {
        let mut sum = Figures::default();
        for (_, pipeline) in self.with_stage(id) {
            let books = pipeline.ledger().books();
            let mut columns = books.stages.iter();
            let column = columns.find(|column| column.name == id.as_str());
            if let Some(figures) = column.and_then(|column| column.generation(number)) {
                sum += Figures::from(figures);
            }
        }
        sum
    }

    /// Ends the probation of the running generation, which has passed.
    async fn pass(&mut self, id: &Id) -> Result<(), crate::refusal::Refusal> {
        let Some(stage) = self.stages.get(id) else {
            return Ok(());
        };
        let mut rollout = stage.rollout.clone();
        rollout.probation = None;
        let running = rollout.running.clone();
        // The shards may forget the state that a rollback would have begun with.
        self.publish(id, rollout, Trigger::Probation).await?;
        let said = StageEvent {
            event: "passed",
            by: Trigger::Probation,
            loaded: &running,
            detail: "its probation".to_owned(),
            took: None::<(Instant, &StagesChanged)>,
        };
        self.report_event(id, said);
        Ok(())
    }

    /// Keeps the report of a shadow up to date.
    async fn show_shadow(&self, id: &Id) {
        let Some(stage) = self.stages.get(id) else {
            return;
        };
        let rollout = &stage.rollout;
        let Some(candidate) = rollout
            .candidate
            .as_ref()
            .filter(|it| it.mode == Mode::Shadow)
        else {
            return;
        };
        let mut sum = spandrel_pipeline::stage::Comparison::default();
        for (_, pipeline) in self.with_stage(id) {
            if let Some(seen) = pipeline.comparison(id.as_str()).await {
                sum.join(seen);
            }
        }
        let numbers = (rollout.running.number(), candidate.loaded.number());
        let board = Arc::clone(&self.status);
        board.set_shadow(id.as_str(), numbers, sum);
    }
}
