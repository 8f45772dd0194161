//! When the configuration is read again, and which files are watched for it.

use std::path::{Path, PathBuf};

use spandrel_config::id::Id;
use spandrel_config::module::ModuleLocation;
use spandrel_supply::Digest;
use tokio::sync::oneshot;
use tokio::time::Instant;
use tracing::{info, warn};

use crate::controller::probation::RETRY_AFTER;
use crate::controller::reload::{NewGenerations, PendingReload};
use crate::controller::{Controller, PendingBuild, Retry, answer};
use crate::refusal::Refusal;
use crate::report::{EventView, ReloadReport};
use crate::stage::rollout::ModuleSource;
use crate::trigger::Trigger;

/// The stage name of events that concern the whole configuration.
const CONFIGURATION: &str = "(configuration)";

impl Controller {
    pub(crate) async fn file_changed(&mut self, path: &Path) {
        let sources = self.origin.as_ref().map(|origin| &origin.sources);
        if sources.is_some_and(|sources| sources.files().any(|file| file == path)) {
            info!(path = %path.display(), "configuration changed, reloading");
            return self.begin_reload(Trigger::Reload, None).await;
        }
        if self.missing.iter().any(|module| module == path) {
            info!(path = %path.display(), "a plugin of the configuration changed, reloading");
            self.begin_reload(Trigger::Reload, None).await;
        }
        let of = self.state.stages.values();
        let stages: Vec<Id> = of
            .filter(|stage| stage.wasm.module.has_file(path))
            .map(|stage| stage.id.clone())
            .collect();
        for stage in stages {
            info!(stage = %stage, path = %path.display(), "plugin changed");
            self.waiting.push_back(stage);
        }
    }

    /// Reads the configuration again, and begins to build what differs.
    pub(crate) async fn begin_reload(
        &mut self,
        by: Trigger,
        reply: Option<oneshot::Sender<Result<ReloadReport, Refusal>>>,
    ) {
        let started = Instant::now();
        self.state.status.reload_began();
        let Some(origin) = &self.origin else {
            let why = "this collector does not know where its configuration came from".to_owned();
            return self.refuse_reload(by, reply, Refusal::Bad(why));
        };
        match self.state.plan_reload(&origin.sources, by, started).await {
            Ok(mut reloading) => {
                let built = reloading.build();
                self.begin_building(PendingBuild::Reload {
                    reloading: Box::new(reloading),
                    reply,
                    built,
                });
            }
            Err(refusal) => {
                // A file that was being written is complete in a moment.
                if reply.is_none() && matches!(refusal, Refusal::Conflict(_)) {
                    self.retry_later(Retry::Configuration, RETRY_AFTER);
                }
                self.refuse_reload(by, reply, refusal);
            }
        }
    }

    pub(crate) async fn finish_reload(
        &mut self,
        mut reloading: PendingReload,
        reply: Option<oneshot::Sender<Result<ReloadReport, Refusal>>>,
        renewed: Result<NewGenerations, Refusal>,
    ) {
        let (modules, by) = (reloading.take_modules(), reloading.by);
        let done = match renewed {
            Ok(renewed) => self.state.reload(reloading, renewed).await,
            Err(refusal) => Err(refusal),
        };
        match done {
            Ok(mut report) => {
                report.left = self.state.left_different().await;
                self.evaluate_soon();
                self.missing.clear();
                self.watch_files();
                let names = |of: &[String]| (!of.is_empty()).then(|| of.join(", "));
                info!(
                    added = names(&report.added),
                    removed = names(&report.removed),
                    changed = names(&report.changed),
                    changes = report.changes.len(),
                    left_different = report.left.len(),
                    elapsed_ms = report.elapsed_ms,
                    "configuration reloaded"
                );
                self.state.status.reload_ended(false);
                if let Some(reply) = reply {
                    answer(reply, Ok(report));
                }
            }
            Err(refusal) => {
                if reply.is_none() && matches!(refusal, Refusal::Conflict(_)) {
                    self.retry_later(Retry::Configuration, RETRY_AFTER);
                }
                // A module may have been half written, or come later than the configuration.
                self.missing = modules;
                self.watch_files();
                self.refuse_reload(by, reply, refusal);
            }
        }
    }

    fn refuse_reload(
        &self,
        by: Trigger,
        reply: Option<oneshot::Sender<Result<ReloadReport, Refusal>>>,
        refusal: Refusal,
    ) {
        warn!(
            error = &refusal as &dyn std::error::Error,
            "configuration not reloaded, everything runs on as it was"
        );
        let board = &self.state.status;
        board.reload_ended(true);
        board.count(CONFIGURATION, "refused");
        board.add(EventView {
            stage: CONFIGURATION.to_owned(),
            event: "refused".to_owned(),
            by: by.label().to_owned(),
            detail: refusal.to_string(),
            ..EventView::default()
        });
        if let Some(reply) = reply {
            answer(reply, Err(refusal));
        }
    }

    /// Returns the files that are watched for changes, with the digests of what was read of them,
    /// if known.
    pub(crate) fn files(&self) -> Vec<(PathBuf, Option<Digest>)> {
        let read = &self.state.config.files;
        let sources = self.origin.iter().flat_map(|origin| origin.sources.files());
        let sources = sources.map(|path| {
            let read = read.iter().find(|(read, _)| read == path);
            (path.to_path_buf(), read.map(|(_, digest)| *digest))
        });
        let missing = self.missing.iter().map(|path| (path.clone(), None));
        let modules = self.state.stages.values().filter_map(|stage| {
            let module = stage.wasm.module.file()?;
            let running = &stage.rollout.running;
            let is_of_file = matches!(
                &running.source,
                ModuleSource::Place(ModuleLocation::File { path, .. }) if path == module
            );
            let known = is_of_file.then(|| running.generation.identity().module);
            Some((module.to_path_buf(), known))
        });
        let stages = self.state.stages.values();
        let signatures = stages.filter_map(|stage| stage.wasm.module.signature_file());
        let signatures = signatures.map(|path| (path, None));
        sources
            .chain(missing)
            .chain(modules)
            .chain(signatures)
            .collect()
    }

    fn watch_files(&self) {
        if let Some((watcher, _)) = &self.watch {
            watcher.set(self.files());
        }
    }
}
