//! All stages of the running collector, by their ids.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use spandrel_config::Config;
use spandrel_config::id::Id;
use spandrel_config::processor::Wasm;
use spandrel_config::service::Pipeline;
use spandrel_pipeline::stage::StageSpec;
use spandrel_plugin::Engine;
use spandrel_supply::{Artifact, Digest};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::Stage;
use crate::refusal::Refusal;
use crate::stage::rollout::Rollout;

/// The time limit for reading all modules again. A disk reads the largest one in less. A disk that
/// hangs is not waited for; what was known of its files before stays.
const READING: Duration = Duration::from_secs(5);

/// All stages, and the engine that their plugins run in.
#[derive(Debug, Default)]
pub(crate) struct Stages {
    /// `None` while no pipeline has a stage.
    engine: Option<Engine>,
    by_id: BTreeMap<Id, Stage>,
    /// The last generation number of each removed stage. If the stage comes back, it counts on from
    /// there.
    last_numbers: BTreeMap<Id, u64>,
}

/// The settings and generations of all stages at one moment.
pub(crate) struct StagesBackup(BTreeMap<Id, (Arc<Wasm>, Rollout)>);

impl StagesBackup {
    /// Returns the stages with the generations that they had.
    pub(crate) fn rollouts(&self) -> impl Iterator<Item = (&Id, &Rollout)> {
        self.0.iter().map(|(id, (_, rollout))| (id, rollout))
    }

    /// Returns the number of the generation that a stage ran.
    pub(crate) fn running_number(&self, id: &Id) -> Option<u64> {
        self.0
            .get(id)
            .map(|(_, rollout)| rollout.running().number())
    }
}

impl Stages {
    pub(crate) fn engine(&self) -> Option<&Engine> {
        self.engine.as_ref()
    }

    pub(crate) fn set_engine(&mut self, engine: Engine) {
        self.engine = Some(engine);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Stage> {
        self.by_id.values()
    }

    pub(crate) fn ids(&self) -> Vec<Id> {
        self.by_id.keys().cloned().collect()
    }

    pub(crate) fn get(&self, id: &Id) -> Option<&Stage> {
        self.by_id.get(id)
    }

    pub(crate) fn get_mut(&mut self, id: &Id) -> Option<&mut Stage> {
        self.by_id.get_mut(id)
    }

    /// Returns a stage that must be there.
    pub(crate) fn require(&self, id: &Id) -> Result<&Stage, Refusal> {
        let stage = self.get(id);
        stage.ok_or_else(|| Refusal::NotFound(format!("there is no stage `{id}`")))
    }

    /// Does the same, to change it.
    pub(crate) fn require_mut(&mut self, id: &Id) -> Result<&mut Stage, Refusal> {
        let stage = self.get_mut(id);
        stage.ok_or_else(|| Refusal::NotFound(format!("there is no stage `{id}`")))
    }

    /// Returns the id of the stage of this name.
    pub(crate) fn find(&self, name: &str) -> Result<Id, Refusal> {
        if let Some(id) = self.by_id.keys().find(|id| id.as_str() == name) {
            return Ok(id.clone());
        }
        let known: Vec<&str> = self.by_id.keys().map(Id::as_str).collect();
        Err(Refusal::NotFound(match known.as_slice() {
            [] => format!("there is no stage `{name}`: this collector has none"),
            known => format!("there is no stage `{name}`: there are {}", known.join(", ")),
        }))
    }

    /// Returns the stages in the order in which the pipelines name them.
    pub(crate) fn in_order(&self, config: &Config) -> Vec<&Stage> {
        let mut ids: Vec<&Id> = Vec::new();
        for pipeline in &config.service.pipelines {
            for stage in &pipeline.stages {
                if !ids.contains(&&stage.id) {
                    ids.push(&stage.id);
                }
            }
        }
        ids.into_iter().filter_map(|id| self.get(id)).collect()
    }

    /// Returns the stages that a pipeline should have now.
    pub(crate) fn specs(&self, pipeline: &Pipeline) -> Vec<StageSpec> {
        let named = pipeline.stages.iter();
        let known = named.filter_map(|stage| self.get(&stage.id));
        known.map(Stage::spec).collect()
    }

    /// Returns the number for the next generation of a stage, which may be a new one.
    pub(crate) fn next_number(&mut self, id: &Id) -> u64 {
        match self.by_id.get_mut(id) {
            Some(stage) => stage.next_number(),
            None => self.last_numbers.get(id).map_or(1, |last| last + 1),
        }
    }

    pub(crate) fn add(&mut self, stage: Stage) {
        self.by_id.insert(stage.id().clone(), stage);
    }

    /// Removes the stages that do not stay, but keeps the last numbers of their generations.
    pub(crate) fn retain(&mut self, stays: impl Fn(&Id) -> bool) {
        let gone = self.by_id.extract_if(.., |id, _| !stays(id));
        let last_numbers = gone.map(|(id, stage)| (id, stage.last_number()));
        self.last_numbers.extend(last_numbers);
    }

    /// Returns a copy of what a failed change must restore.
    pub(crate) fn backup(&self) -> StagesBackup {
        let stages = self.by_id.iter();
        let settings = stages.map(|(id, stage)| {
            let settings = (Arc::clone(stage.wasm()), stage.rollout().clone());
            (id.clone(), settings)
        });
        StagesBackup(settings.collect())
    }

    /// Restores the settings and generations of all stages. Stages that were added since are
    /// removed.
    pub(crate) fn restore(&mut self, StagesBackup(before): &StagesBackup) {
        self.retain(|id| before.contains_key(id));
        for (id, (wasm, rollout)) in before {
            if let Some(stage) = self.get_mut(id) {
                stage.set_wasm(Arc::clone(wasm));
                stage.replace_rollout(rollout.clone());
            }
        }
    }

    /// Learns the current digests of the configured modules that are files.
    pub(crate) async fn read_modules(&mut self) {
        let mut reading = JoinSet::new();
        for stage in self.iter().filter(|stage| !stage.is_missing()) {
            let Some(path) = stage.wasm().module.file() else {
                continue;
            };
            let (id, path) = (stage.id().clone(), path.to_path_buf());
            reading.spawn_blocking(move || (id, read(&path)));
        }
        let all = async {
            while let Some(done) = reading.join_next().await {
                if let Ok((id, Some(digest))) = done
                    && let Some(stage) = self.get_mut(&id)
                {
                    stage.set_configured(digest);
                }
            }
        };
        // Modules that were read in time have been noted.
        timeout(READING, all).await.ok();
    }
}

/// Returns the digest of a plugin; `None` if it is no plugin or cannot be read. A start would
/// report that.
fn read(path: &Path) -> Option<Digest> {
    let artifact = Artifact::read(path).ok()?;
    Some(artifact.digest())
}
