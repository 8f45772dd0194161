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
use crate::live::Live;
use crate::publish::Said;
use crate::stage::lineup::{READ_EVERY, Watch};
use crate::trigger::Trigger;

/// The interval of looks at what is on probation. The reaction to what shows is due within a
/// second.
const LOOK: Duration = Duration::from_millis(200);

/// The delay before another attempt at something that failed for want of room or of an instance.
pub(crate) const AGAIN: Duration = Duration::from_secs(5);

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
    pub(crate) fn looks(&self) -> bool {
        !self.live.stages.is_empty()
    }

    /// Looks at every generation: often at those that are on probation or beside another, now and
    /// then at the others, to know later what they did.
    pub(crate) async fn look(&mut self) {
        self.take_up_again();
        let ids: Vec<Id> = self.live.stages.keys().cloned().collect();
        if self.read_at <= Instant::now() {
            self.read_at = Instant::now() + READ_EVERY;
            self.live.read_all(&ids);
        }
        let mut next = self.read_at.min(self.next_again());
        for id in ids {
            self.live.show_shadow(&id).await;
            let done = match self.live.due(&id) {
                None => Ok(()),
                Some(Due::Pass) => self.live.pass(&id).await,
                Some(Due::RollBack(why)) => {
                    let done = self.live.roll_back(&id, Trigger::Probation, &why).await;
                    done.map(drop)
                }
                Some(Due::Promote) => {
                    let done = self
                        .live
                        .promote(&id, Trigger::Probation, Watch::Nothing)
                        .await;
                    done.map(drop)
                }
                Some(Due::Cancel(why)) => {
                    let done = self.live.cancel(&id, Trigger::Probation, &why).await;
                    done.map(drop)
                }
            };
            let now = Instant::now();
            match done {
                Ok(()) if self.live.is_watched(&id) => next = next.min(now + LOOK),
                Ok(()) => {}
                Err(refusal) => {
                    error!(
                        stage = %id,
                        error = &refusal as &dyn std::error::Error,
                        "the end of a probation could not be acted on, trying again"
                    );
                    next = next.min(now + AGAIN);
                }
            }
        }
        self.look_at(next);
    }
}

impl Live {
    fn read_all(&mut self, ids: &[Id]) {
        for id in ids {
            let Some(number) = self
                .stages
                .get(id)
                .map(|stage| stage.lineup.running.number())
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
            let lineup = &stage.lineup;
            lineup.probation.is_some() || lineup.candidate.is_some()
        })
    }

    /// Returns the action that the figures of a stage call for.
    fn due(&self, id: &Id) -> Option<Due> {
        let stage = self.stages.get(id)?;
        let lineup = &stage.lineup;
        let of = |number| self.figures(id, number);
        if let Some(probation) = lineup.probation {
            let new = of(lineup.running.number()).since(probation.before);
            let old = lineup.previous.as_ref().map(|_| probation.yardstick);
            let config = probation.watch.config(&stage.wasm);
            match judge(&config, probation.since.elapsed(), &new, old.as_ref()) {
                Standing::Watching => {}
                Standing::Failed(why) if lineup.previous.is_some() => {
                    return Some(Due::RollBack(why));
                }
                // Without a previous generation there is nothing to roll back to. Only the fault
                // policy and the breaker protect the stage.
                Standing::Passed | Standing::Failed(_) => return Some(Due::Pass),
            }
        }
        let candidate = lineup.candidate.as_ref()?;
        if candidate.mode == Mode::Shadow {
            return None;
        }
        let new = of(candidate.loaded.number());
        let old = of(lineup.running.number()).since(candidate.running_before);
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
        let mut lineup = stage.lineup.clone();
        lineup.probation = None;
        let running = lineup.running.clone();
        // The shards may forget the state that a rollback would have begun with.
        self.publish(id, lineup, Trigger::Probation).await?;
        let said = Said {
            event: "passed",
            by: Trigger::Probation,
            loaded: &running,
            detail: "its probation".to_owned(),
            took: None::<(Instant, &StagesChanged)>,
        };
        self.say(id, said);
        Ok(())
    }

    /// Keeps the report of a shadow up to date.
    async fn show_shadow(&self, id: &Id) {
        let Some(stage) = self.stages.get(id) else {
            return;
        };
        let lineup = &stage.lineup;
        let Some(candidate) = lineup
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
        let numbers = (lineup.running.number(), candidate.loaded.number());
        let board = Arc::clone(&self.status);
        board.set_shadow(id.as_str(), numbers, sum);
    }
}
