//! The stages that a reload leaves different from the configuration: somebody swapped or rolled
//! back, or a module's file has other bytes by now. If the configuration did not change, a reload
//! reverts none of that.

use std::path::Path;
use std::time::Duration;

use spandrel_config::id::Id;
use spandrel_plugin::artifact::{Artifact, Digest};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tracing::info;

use crate::report::LeftView;
use crate::stage::drift::{drift, in_words};
use crate::state::CollectorState;

/// The time limit for reading all modules again. A disk reads the largest one in less. A disk that
/// hangs is not waited for; what was known of its files before stays.
const READING: Duration = Duration::from_secs(5);

impl CollectorState {
    /// Reads the modules' files again, and reports the stages that run something else.
    pub(crate) async fn left_different(&mut self) -> Vec<LeftView> {
        self.read_modules().await;
        let stages = self.stages.values().map(|stage| (&stage.id, drift(stage)));
        let different = stages.filter(|(_, drift)| !drift.is_empty());
        let left = different.map(|(id, drift)| {
            info!(
                stage = %id,
                drift = in_words(&drift),
                "stage left as it is, different from the configuration"
            );
            LeftView {
                stage: id.to_string(),
                drift,
            }
        });
        left.collect()
    }

    /// Learns the current digests of the configured modules that are files.
    async fn read_modules(&mut self) {
        let mut reading = JoinSet::new();
        for stage in self.stages.values().filter(|stage| !stage.is_missing()) {
            let Some(path) = stage.wasm.module.file() else {
                continue;
            };
            let (id, path) = (stage.id.clone(), path.to_path_buf());
            reading.spawn_blocking(move || (id, read(&path)));
        }
        let all = async {
            while let Some(done) = reading.join_next().await {
                if let Ok((id, Some(digest))) = done {
                    self.note_module(&id, digest);
                }
            }
        };
        // Modules that were read in time have been noted.
        timeout(READING, all).await.ok();
        self.show();
    }

    fn note_module(&mut self, id: &Id, digest: Digest) {
        if let Some(stage) = self.stages.get_mut(id) {
            stage.configured = Some(digest);
        }
    }
}

/// Returns the digest of a plugin; `None` if it is no plugin or cannot be read. A start would
/// report that.
fn read(path: &Path) -> Option<Digest> {
    let artifact = Artifact::read(path).ok()?;
    Some(artifact.digest())
}
