//! Failed batches that are not in quarantine. They are tried again automatically, and go to
//! quarantine when that fails.

use std::collections::BTreeMap;
use std::time::Duration;

use spandrel_pipeline::pipeline::{Retries, Retry, RetryAnswer};
use tokio::time::{Instant, sleep};

use crate::quarantine::Quarantine;
use crate::quarantines::{Action, none};
use crate::refusal::Refusal;
use crate::report::QuarantinedView;
use crate::time_text::rfc3339;

const PREFIX: &str = "waiting-";
/// The time in which a batch is put into quarantine, if the disk works.
const SHELVING: Duration = Duration::from_secs(5);
/// The interval of checks whether the batch is in quarantine.
const EVALUATE_EVERY: Duration = Duration::from_millis(20);

/// Returns true if this id is that of a waiting batch.
pub(crate) fn is_id(id: &str) -> bool {
    id.starts_with(PREFIX)
}

fn id(pipeline: &str, record: u64) -> String {
    format!("{PREFIX}{record}@{pipeline}")
}

/// Returns all waiting batches, by pipeline.
pub(crate) fn list(kept: &BTreeMap<String, Quarantine>) -> Vec<QuarantinedView> {
    all(kept)
        .map(|(pipeline, _, retry)| QuarantinedView {
            id: id(pipeline, retry.record),
            pipeline: pipeline.to_owned(),
            signal: "traces".to_owned(),
            items: retry.items,
            bytes: retry.bytes as u64,
            attempts: retry.attempts,
            accepted: rfc3339(retry.accepted),
            quarantined: String::new(),
            reason: retry.reason,
            waiting: true,
        })
        .collect()
}

fn all(kept: &BTreeMap<String, Quarantine>) -> impl Iterator<Item = (&str, &Retries, Retry)> {
    kept.iter().flat_map(|(pipeline, kept)| {
        let retries = kept.retries.iter();
        retries.flat_map(move |retries| {
            let waiting = retries.list().into_iter();
            waiting.map(move |retry| (pipeline.as_str(), retries, retry))
        })
    })
}

/// Has all of them tried now. Returns the ones that are, once no other batch is on its way to the
/// quarantine.
pub(crate) async fn hasten_all(kept: &BTreeMap<String, Quarantine>) -> Vec<String> {
    let mut done = Vec::new();
    for (pipeline, retries, retry) in all(kept).collect::<Vec<_>>() {
        let until = Instant::now() + SHELVING;
        loop {
            match retries.now(retry.record) {
                RetryAnswer::Now => done.push(id(pipeline, retry.record)),
                RetryAnswer::Leaving if Instant::now() < until => {
                    sleep(EVALUATE_EVERY).await;
                    continue;
                }
                // It is in quarantine, or passed.
                RetryAnswer::Leaving | RetryAnswer::Gone => {}
            }
            break;
        }
    }
    done
}

/// Replays one batch, or returns the reason why it is not dropped.
pub(crate) fn change(
    kept: &BTreeMap<String, Quarantine>,
    action: Action,
    id: &str,
) -> Result<(), Refusal> {
    let (record, pipeline) = parts(id).ok_or_else(|| none(id))?;
    let retries = kept.get(pipeline).and_then(|kept| kept.retries.as_ref());
    let retries = retries.ok_or_else(|| none(id))?;
    match action {
        Action::Drop => Err(Refusal::Conflict(format!(
            "batch {id} is still being retried; it can be dropped once it is in quarantine"
        ))),
        Action::Replay => match retries.now(record) {
            RetryAnswer::Now => Ok(()),
            RetryAnswer::Leaving => Err(not_shelved(id)),
            RetryAnswer::Gone => Err(none(id)),
        },
    }
}

fn parts(id: &str) -> Option<(u64, &str)> {
    let (record, pipeline) = id.strip_prefix(PREFIX)?.split_once('@')?;
    Some((record.parse().ok()?, pipeline))
}

/// Returns the refusal for a batch that has no file.
pub(crate) fn not_shelved(id: &str) -> Refusal {
    Refusal::Conflict(format!(
        "batch {id} is not in quarantine yet: it is still being retried, see `spandrel quarantine ls`"
    ))
}
