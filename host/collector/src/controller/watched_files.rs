//! The files that a running collector was made of, and the events that one of them has changed.

use std::path::{Path, PathBuf};

use spandrel_config::module::ModuleLocation;
use spandrel_config::source::Sources;
use spandrel_supply::Digest;
use tokio::sync::{mpsc, watch};

use crate::stage::loaded::ModuleSource;
use crate::state::CollectorState;
use crate::watch::Watcher;

/// The means to read the configuration again while the collector runs.
#[derive(Clone, Debug)]
pub struct Origin {
    /// The sources of the configuration.
    pub sources: Sources,
    /// Changes with each SIGHUP.
    pub hang_ups: watch::Receiver<u32>,
}

/// A reason to look at the files again.
pub(super) enum FileEvent {
    /// This file has other content.
    Changed(PathBuf),
    /// The operator says so with SIGHUP.
    HangUp,
}

/// The files of the configuration and of its plugins. They are watched if the configuration says
/// so.
pub(super) struct WatchedFiles {
    origin: Option<Origin>,
    watch: Option<(Watcher, mpsc::Receiver<PathBuf>)>,
    /// Files of the modules of a configuration that was refused. If one of them changes, the
    /// configuration may be good.
    refused_modules: Vec<PathBuf>,
}

impl WatchedFiles {
    pub(super) fn new(origin: Option<Origin>, state: &CollectorState) -> Self {
        let mut files = Self {
            origin,
            watch: None,
            refused_modules: Vec::new(),
        };
        if state.pipelines().config().service.watch {
            files.watch = Some(Watcher::start(files.list(state)));
        }
        files
    }

    /// Returns the sources of the configuration, if they are known.
    pub(super) fn sources(&self) -> Option<&Sources> {
        self.origin.as_ref().map(|origin| &origin.sources)
    }

    /// Waits for the next event. May be dropped at any await.
    pub(super) async fn next(&mut self) -> FileEvent {
        let Self { origin, watch, .. } = self;
        let changed = async {
            match watch {
                Some((_, changes)) => changes.recv().await,
                None => None,
            }
        };
        let hung_up = async {
            match origin {
                Some(origin) => origin.hang_ups.changed().await.is_ok(),
                None => false,
            }
        };
        tokio::select! {
            Some(path) = changed => FileEvent::Changed(path),
            true = hung_up => FileEvent::HangUp,
            // Without a watcher and without signals no event comes.
            else => std::future::pending().await,
        }
    }

    /// Returns true if the configuration was read from this file.
    pub(super) fn is_source(&self, path: &Path) -> bool {
        let mut sources = self.sources().into_iter().flat_map(Sources::files);
        sources.any(|file| file == path)
    }

    /// Returns true if the file belongs to a module of a configuration that was refused.
    pub(super) fn is_of_refused(&self, path: &Path) -> bool {
        self.refused_modules.iter().any(|module| module == path)
    }

    /// Watches the files of what runs now, and these files of a configuration that was refused.
    pub(super) fn set(&mut self, state: &CollectorState, refused_modules: Vec<PathBuf>) {
        self.refused_modules = refused_modules;
        if let Some((watcher, _)) = &self.watch {
            watcher.set(self.list(state));
        }
    }

    /// Returns the files that are watched for changes, with the digests of what was read of them,
    /// if known.
    fn list(&self, state: &CollectorState) -> Vec<(PathBuf, Option<Digest>)> {
        let read = &state.pipelines().config().files;
        let sources = self.sources().into_iter().flat_map(Sources::files);
        let sources = sources.map(|path| {
            let read = read.iter().find(|(read, _)| read == path);
            (path.to_path_buf(), read.map(|(_, digest)| *digest))
        });
        let refused = self.refused_modules.iter();
        let refused = refused.map(|path| (path.clone(), None));
        let modules = state.stages().iter().filter_map(|stage| {
            let module = stage.wasm().module.file()?;
            let running = stage.running();
            let is_of_file = matches!(
                &running.source,
                ModuleSource::Place(ModuleLocation::File { path, .. }) if path == module
            );
            Some((module.to_path_buf(), is_of_file.then(|| running.module())))
        });
        let stages = state.stages().iter();
        let signatures = stages.filter_map(|stage| stage.wasm().module.signature_file());
        let signatures = signatures.map(|path| (path, None));
        sources
            .chain(refused)
            .chain(modules)
            .chain(signatures)
            .collect()
    }
}
