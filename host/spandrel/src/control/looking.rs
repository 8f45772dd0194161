//! Looking after what was published: probation, canaries, shadows.

use std::sync::Arc;
use std::time::Duration;

use spandrel_plugin::probation::{Figures, Standing, judge};
use tokio::time::Instant;
use tracing::error;

use super::By;
use super::changer::Changer;
use super::publish::Said;
use crate::app::live::Live;
use crate::config::id::Id;
use spandrel_pipeline::pipeline::StagesChanged;
use spandrel_pipeline::stage::Mode;

/// Between two looks at what is on probation: an answer to what shows is due within a second.
const LOOK: Duration = Duration::from_millis(200);

/// What is to be done with a generation that was looked at.
enum Due {
    /// It stays, and is not looked at any more.
    Pass,
    RollBack(String),
    Promote,
    Cancel(String),
}

impl Changer {
    /// Whether something is to be looked after.
    pub(super) fn looks(&self) -> bool {
        let mut lineups = self.live.stages.values().map(|stage| &stage.lineup);
        lineups.any(|lineup| lineup.probation.is_some() || lineup.candidate.is_some())
    }

    /// Looks at every generation that is on probation or beside another.
    pub(super) async fn look(&mut self) {
        let ids: Vec<Id> = self.live.stages.keys().cloned().collect();
        for id in ids {
            self.live.show_shadow(&id).await;
            let Some(due) = self.live.due(&id) else {
                continue;
            };
            let done = match due {
                Due::Pass => self.live.pass(&id).await,
                Due::RollBack(why) => {
                    let done = self.live.roll_back(&id, By::Probation, &why).await;
                    done.map(drop)
                }
                Due::Promote => self.live.promote(&id, By::Probation).await.map(drop),
                Due::Cancel(why) => {
                    let done = self.live.cancel(&id, By::Probation, &why).await;
                    done.map(drop)
                }
            };
            if let Err(refusal) = done {
                error!(
                    stage = %id,
                    error = &refusal as &dyn std::error::Error,
                    "the end of a probation could not be acted on, trying again"
                );
            }
        }
        self.look_at(Instant::now() + LOOK);
    }
}

impl Live {
    /// What is due for a stage, by the figures.
    fn due(&self, id: &Id) -> Option<Due> {
        let stage = self.stages.get(id)?;
        let lineup = &stage.lineup;
        let config = &stage.wasm.probation;
        let of = |number| self.figures(id, number);
        if let Some(candidate) = &lineup.candidate {
            if candidate.mode == Mode::Shadow {
                return None;
            }
            let new = of(candidate.loaded.number());
            let old = of(lineup.running.number());
            return match judge(config, candidate.since.elapsed(), &new, Some(&old)) {
                Standing::Watching => None,
                Standing::Passed => Some(Due::Promote),
                Standing::Failed(why) => Some(Due::Cancel(why)),
            };
        }
        let probation = lineup.probation?;
        let new = of(lineup.running.number()).since(probation.before);
        let old = lineup
            .previous
            .as_ref()
            .map(|previous| of(previous.number()));
        match judge(config, probation.since.elapsed(), &new, old.as_ref()) {
            Standing::Watching => None,
            Standing::Passed => Some(Due::Pass),
            Standing::Failed(why) if lineup.previous.is_some() => Some(Due::RollBack(why)),
            // There is nothing to bring back: the fault policy and the breaker are what there is.
            Standing::Failed(_) => Some(Due::Pass),
        }
    }

    /// What a generation did, in all pipelines.
    pub(super) fn figures(&self, id: &Id, number: u64) -> Figures {
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

    /// The running generation is on probation no more.
    async fn pass(&mut self, id: &Id) -> Result<(), super::Refusal> {
        let Some(stage) = self.stages.get(id) else {
            return Ok(());
        };
        let mut lineup = stage.lineup.clone();
        lineup.probation = None;
        let running = lineup.running.clone();
        // The shards may forget the state that a rollback would have begun with.
        self.publish(id, lineup).await?;
        let said = Said {
            event: "passed",
            by: By::Probation,
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
        let board = Arc::clone(&self.board);
        board.set_shadow(id.as_str(), numbers, sum);
    }
}
