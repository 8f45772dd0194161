//! The quarantines of all running pipelines, as operators see and change them.

#[cfg(test)]
mod tests;
mod waiting;

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use spandrel_pipeline::refused::Refused;
use tracing::warn;

use crate::error_chain::in_one_line;
use crate::quarantine::Quarantine;
use crate::quarantine::folder::Folder;
use crate::refusal::Refusal;
use crate::report::{QuarantineReport, QuarantinedView, RemainingBatchView};
use crate::status::Status;

/// The quarantines of all running pipelines.
#[derive(Debug)]
pub struct Quarantines {
    status: Arc<Status>,
    /// Replays and drops are serialized, so that no batch is offered twice.
    changing: tokio::sync::Mutex<()>,
}

/// An action on batches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Offers them to their pipelines again.
    Replay,
    /// Removes them.
    Drop,
}

impl Quarantines {
    /// Makes the quarantines of the pipelines that the status shows.
    pub(crate) fn new(status: Arc<Status>) -> Self {
        Self {
            status,
            changing: tokio::sync::Mutex::default(),
        }
    }

    /// Returns the quarantines by pipeline.
    fn by_pipeline(&self) -> BTreeMap<String, Quarantine> {
        let snapshot = self.status.snapshot();
        let pipelines = snapshot.pipelines.iter();
        let durable = pipelines.filter_map(|pipeline| {
            let quarantine = pipeline.quarantine.clone()?;
            Some((pipeline.view.name.clone(), quarantine))
        });
        durable.collect()
    }

    fn all(&self) -> Vec<Quarantine> {
        self.by_pipeline().into_values().collect()
    }

    /// Returns the batches in quarantine, oldest first, and after them the failed batches that wait
    /// for another attempt. A batch that moves between the two meanwhile may be in both.
    pub async fn list(&self) -> Result<Vec<QuarantinedView>, Refusal> {
        let waiting = waiting::list(&self.by_pipeline());
        let mut all = self.shelved().await?;
        all.extend(waiting);
        Ok(all)
    }

    /// Returns the batches in quarantine, oldest first.
    async fn shelved(&self) -> Result<Vec<QuarantinedView>, Refusal> {
        let all = self.all();
        blocking(move || {
            let folders = all.iter().map(|kept| kept.store.folder());
            list(folders.map(Arc::as_ref))
        })
        .await
    }

    /// Returns one batch's file as it is.
    pub async fn show(&self, id: String) -> Result<String, Refusal> {
        if waiting::is_id(&id) {
            return Err(waiting::not_shelved(&id));
        }
        let found = self.find(&id).await?;
        blocking(move || found.store.folder().text(&id)).await
    }

    async fn find(&self, id: &str) -> Result<Quarantine, Refusal> {
        let (all, wanted) = (self.all(), id.to_owned());
        let found = blocking(move || {
            let mut found = all.into_iter();
            Ok(found.find(|kept| kept.store.folder().has(&wanted)))
        });
        found.await?.ok_or_else(|| none(id))
    }

    /// Replays or drops one batch, or all current ones.
    pub(crate) async fn change(
        &self,
        action: Action,
        id: Option<String>,
    ) -> Result<QuarantineReport, Refusal> {
        let Ok(_turn) = self.changing.try_lock() else {
            let why = "batches are being replayed or dropped already: try again when that is done";
            return Err(Refusal::Conflict(why.to_owned()));
        };
        if let Some(id) = id {
            self.change_one(action, &id).await?;
            return Ok(QuarantineReport {
                done: vec![id],
                kept: Vec::new(),
            });
        }
        let mut report = QuarantineReport::default();
        if action == Action::Replay {
            // Do this before listing the quarantines, so that a batch on its way there is found in one
            // of the two.
            let kept = self.by_pipeline();
            report.done = waiting::hasten_all(&kept).await;
        }
        for QuarantinedView { id, .. } in self.shelved().await? {
            match self.change_one(action, &id).await {
                Ok(()) => report.done.push(id),
                Err(Refusal::Draining) => return Err(Refusal::Draining),
                Err(refusal) => report.kept.push(RemainingBatchView {
                    id,
                    why: refusal.to_string(),
                }),
            }
        }
        Ok(report)
    }

    async fn change_one(&self, action: Action, id: &str) -> Result<(), Refusal> {
        if waiting::is_id(id) {
            return waiting::change(&self.by_pipeline(), action, id);
        }
        let Quarantine {
            store, admission, ..
        } = self.find(id).await?;
        if action == Action::Replay {
            let (folder, wanted) = (Arc::clone(store.folder()), id.to_owned());
            let (signal, request) = blocking(move || folder.request(&wanted)).await?;
            let offered = admission.offer(signal, request).await;
            let accepted = offered.map_err(|refused| match refused {
                Refused::Draining => Refusal::Draining,
                refused => Refusal::Conflict(format!(
                    "batch {id} stays in quarantine, its pipeline refuses it: {}",
                    in_one_line(&refused)
                )),
            })?;
            // Such items do not pass the ingress, so somebody edited the file.
            let refused = accepted.refused;
            if !refused.is_empty() {
                warn!(batch = id, items = refused.count, why = %refused, "invalid items refused");
            }
        }
        let (folder, wanted) = (Arc::clone(store.folder()), id.to_owned());
        blocking(move || folder.remove(&wanted)).await
    }
}

/// Returns the batches in some folders, oldest first.
pub fn list<'a>(folders: impl Iterator<Item = &'a Folder>) -> io::Result<Vec<QuarantinedView>> {
    let mut all = Vec::new();
    for folder in folders {
        all.append(&mut folder.list()?);
    }
    all.sort_by(|a, b| a.id.cmp(&b.id));
    Ok(all)
}

/// Returns the refusal for an id that no batch has.
pub fn none(id: &str) -> Refusal {
    Refusal::NotFound(format!(
        "there is no batch `{id}` in quarantine; see `spandrel quarantine ls`"
    ))
}

/// Runs work that reads or writes files on a blocking thread.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<T, Refusal> {
    let done = tokio::task::spawn_blocking(work).await;
    let done = done.unwrap_or_else(|error| Err(io::Error::other(error)));
    done.map_err(|error| Refusal::Bad(format!("the quarantine cannot be read or written: {error}")))
}
