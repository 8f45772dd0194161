//! The settings of an exporter, as of now. A reload can change them while batches are on their way.
//! Batches that wait, in the queue or between two attempts, go on by the new settings; a running
//! attempt ends by those by which it began.

use std::convert::Infallible;
use std::ops::Deref;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::{mpsc, watch};

use super::ExporterSpec;
use super::backend::BackendFacts;
use crate::exporter::Exporter;

/// The settings of an exporter, which a reload can change.
#[derive(Debug)]
pub(super) struct Settings {
    /// The settings that were asked for.
    asked: Mutex<Arc<ExporterSpec>>,
    current: watch::Sender<Version>,
    in_use: Mutex<mpsc::Receiver<Infallible>>,
}

/// The settings of one moment. Each request that is sent by them keeps a clone.
#[derive(Clone, Debug)]
struct Version {
    spec: Arc<ExporterSpec>,
    /// The facts learned of the backend. They are forgotten if the exporter is replaced.
    backend: Arc<BackendFacts>,
    _in_use: mpsc::Sender<Infallible>,
}

impl Version {
    fn new(
        spec: Arc<ExporterSpec>,
        backend: Arc<BackendFacts>,
    ) -> (Self, mpsc::Receiver<Infallible>) {
        let (sender, in_use) = mpsc::channel(1);
        let version = Self {
            spec,
            backend,
            _in_use: sender,
        };
        (version, in_use)
    }
}

impl Settings {
    /// Makes the settings. `asked` is what the configuration says, `spec` is what is done.
    pub(super) fn new(asked: Arc<ExporterSpec>, spec: Arc<ExporterSpec>) -> Self {
        let backend = Arc::new(BackendFacts::new(spec.name.clone()));
        let (version, in_use) = Version::new(spec, backend);
        Self {
            asked: Mutex::new(asked),
            current: watch::Sender::new(version),
            in_use: Mutex::new(in_use),
        }
    }

    pub(super) fn asked(&self) -> Arc<ExporterSpec> {
        Arc::clone(&self.asked.lock())
    }

    /// Sets other settings from now on. Returns the previous ones, to be put away.
    pub(super) fn change(&self, asked: Arc<ExporterSpec>, spec: Arc<ExporterSpec>) -> OldSettings {
        *self.asked.lock() = asked;
        let mut last_in_use = self.in_use.lock();
        let backend = {
            let before = self.current.borrow();
            if Arc::ptr_eq(&before.spec.exporter, &spec.exporter) {
                Arc::clone(&before.backend)
            } else {
                Arc::new(BackendFacts::new(spec.name.clone()))
            }
        };
        let (version, in_use) = Version::new(spec, backend);
        let before = self.current.send_replace(version);
        OldSettings {
            exporter: Arc::clone(&before.spec.exporter),
            name: before.spec.name.clone(),
            in_use: std::mem::replace(&mut last_in_use, in_use),
        }
    }

    pub(super) fn reader(&self) -> SettingsReader {
        SettingsReader(self.current.subscribe())
    }
}

/// Settings that are not in force any more.
pub(super) struct OldSettings {
    exporter: Arc<dyn Exporter>,
    name: String,
    in_use: mpsc::Receiver<Infallible>,
}

impl OldSettings {
    /// Waits until the last attempt by these settings has ended, and has the exporter write out
    /// what it holds.
    pub(super) async fn put_away(mut self) {
        let _none = self.in_use.recv().await;
        if let Err(error) = self.exporter.flush().await {
            tracing::error!(exporter = %self.name, error, "exporter could not flush");
        }
    }
}

/// A reader of the current settings.
#[derive(Clone, Debug)]
pub(super) struct SettingsReader(watch::Receiver<Version>);

impl SettingsReader {
    /// Returns the settings for one request.
    pub(super) fn lease(&self) -> SettingsLease {
        let mut changes = self.0.clone();
        let version = changes.borrow_and_update().clone();
        SettingsLease { version, changes }
    }

    pub(super) fn spec(&self) -> Arc<ExporterSpec> {
        Arc::clone(&self.0.borrow().spec)
    }

    /// Returns the longest request that the backend takes, in bytes, as far as is known.
    pub(super) fn most_bytes(&self) -> usize {
        self.0.borrow().backend.most_bytes()
    }

    /// Resolves when the settings have changed; never, once the exporter is retired.
    pub(super) async fn changed(&mut self) {
        changed(&mut self.0).await;
    }
}

async fn changed(changes: &mut watch::Receiver<Version>) {
    if changes.changed().await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// The settings by which one request is sent, until it goes over to newer ones.
#[derive(Debug)]
pub(super) struct SettingsLease {
    version: Version,
    changes: watch::Receiver<Version>,
}

impl SettingsLease {
    /// Returns the facts learned of the backend.
    pub(super) fn backend(&self) -> &BackendFacts {
        &self.version.backend
    }

    /// Goes over to the current settings. Returns true if they have changed.
    pub(super) fn renew(&mut self) -> bool {
        let is_outdated = self.changes.has_changed().unwrap_or(false);
        if is_outdated {
            self.version = self.changes.borrow_and_update().clone();
        }
        is_outdated
    }

    /// Resolves when the settings have changed; never, once the exporter is retired.
    pub(super) async fn is_outdated(&self) {
        let mut changes = self.changes.clone();
        changed(&mut changes).await;
    }
}

impl Deref for SettingsLease {
    type Target = ExporterSpec;

    fn deref(&self) -> &ExporterSpec {
        &self.version.spec
    }
}
