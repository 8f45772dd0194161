//! The collector's view of its configuration, compared with the plan.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, ensure};
use serde::Deserialize;
use spandrel_tests::admin::Admin;

use super::plan::Plan;

#[derive(Debug, Deserialize)]
struct PipelineShown {
    name: String,
    receivers: Vec<String>,
    stages: Vec<String>,
    exporters: Vec<String>,
    ledger: LedgerShown,
}

#[derive(Debug, Deserialize)]
struct LedgerShown {
    exporters: Vec<ColumnShown>,
}

#[derive(Debug, Deserialize)]
struct ColumnShown {
    exporter: String,
    exported: u64,
}

#[derive(Debug, Deserialize)]
struct StageShown {
    stage: String,
    pipelines: Vec<String>,
    running: GenerationShown,
}

#[derive(Debug, Deserialize)]
struct GenerationShown {
    number: u64,
    module: String,
    config_sha256: String,
}

/// The view under one plan.
pub(super) struct Shown {
    plan: Plan,
    stages: BTreeMap<String, StageShown>,
    /// The number of exported items, by pipeline and exporter.
    columns: BTreeMap<(String, String), u64>,
}

impl Shown {
    /// Reads the view, and checks that exactly the plan runs.
    pub(super) async fn look(admin: &Admin, plan: &Plan) -> Result<Self> {
        let pipelines: Vec<PipelineShown> = admin.get("/v1/pipelines").await?;
        let names: Vec<&String> = pipelines.iter().map(|it| &it.name).collect();
        let asked: Vec<&String> = plan.pipelines.keys().collect();
        ensure!(names == asked, "pipelines {names:?} instead of {asked:?}");
        let mut columns = BTreeMap::new();
        for shown in pipelines {
            let asked = plan
                .pipelines
                .get(&shown.name)
                .context("no such pipeline")?;
            ensure!(
                shown.receivers == asked.receivers,
                "{shown:?} instead of {asked:?}"
            );
            ensure!(
                shown.stages == asked.stages,
                "{shown:?} instead of {asked:?}"
            );
            ensure!(
                shown.exporters == asked.exporters,
                "{shown:?} instead of {asked:?}"
            );
            for column in shown.ledger.exporters {
                columns.insert((shown.name.clone(), column.exporter), column.exported);
            }
        }
        let stages: Vec<StageShown> = admin.get("/v1/stages").await?;
        let stages: BTreeMap<_, _> = stages
            .into_iter()
            .map(|it| (it.stage.clone(), it))
            .collect();
        for (name, stage) in &plan.processors {
            let asked = plan.with_stage(name);
            let Some(shown) = stages.get(name) else {
                ensure!(asked.is_empty(), "{name} is not there");
                continue;
            };
            let mut stands = shown.pipelines.clone();
            stands.sort();
            ensure!(
                stands == asked && !asked.is_empty(),
                "{shown:?} instead of {asked:?}"
            );
            let module = stage.module.display().to_string();
            ensure!(
                shown.running.module == module,
                "{shown:?} instead of {module}"
            );
        }
        let known = |name: &String| plan.processors.contains_key(name);
        ensure!(stages.keys().all(known), "there are {stages:?}");
        Ok(Self {
            plan: plan.clone(),
            stages,
            columns,
        })
    }

    /// Returns the number of a stage's running generation.
    pub(super) fn number(&self, stage: &str) -> u64 {
        self.stages
            .get(stage)
            .map_or(0, |shown| shown.running.number)
    }

    /// Checks that unchanged parts were not touched, and that changed ones were.
    pub(super) fn follows(&self, before: &Self) -> Result<()> {
        for (name, after) in &self.stages {
            let Some(earlier) = before.stages.get(name) else {
                continue;
            };
            let (old, new) = (&earlier.running, &after.running);
            let as_asked = match (
                self.plan.processors.get(name),
                before.plan.processors.get(name),
            ) {
                (Some(now), Some(then)) if now.is_made_as(then) => old.number == new.number,
                (Some(now), Some(then)) => {
                    let other = now.config != then.config;
                    new.number > old.number && (new.config_sha256 != old.config_sha256) == other
                }
                _ => false,
            };
            ensure!(as_asked, "{name}: generation {new:?} after {old:?}");
        }
        for (name, joined) in &self.plan.pipelines {
            let Some(then) = before.plan.pipelines.get(name) else {
                continue;
            };
            for exporter in &joined.exporters {
                let key = (name.clone(), exporter.clone());
                let is_same = then.exporters.contains(exporter)
                    && then.ack_on == joined.ack_on
                    && self.plan.exporters.get(exporter) == before.plan.exporters.get(exporter);
                let (old, new) = (before.columns.get(&key), self.columns.get(&key));
                ensure!(
                    !is_same || new >= old,
                    "{key:?} began again: {new:?} after {old:?}"
                );
            }
        }
        Ok(())
    }
}
