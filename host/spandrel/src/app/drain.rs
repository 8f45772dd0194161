//! The end: accept nothing new, finish what was accepted, until the deadline; say where everything
//! is.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use spandrel_pipeline::ledger::{Books, Ledger};
use spandrel_pipeline::pipeline::Pipeline;
use tokio::time::Instant;
use tracing::{error, info, warn};

use super::receivers::Serving;
use super::rows::{self, Row};
use super::{Ending, millis, whole_millis};
use crate::telemetry::health::Health;

/// How long a drain may take.
#[derive(Clone, Copy, Debug)]
pub(super) struct Timing {
    /// All phases together, the delay included.
    pub(super) timeout: Duration,
    /// How long to go on accepting after readiness is gone.
    pub(super) delay: Duration,
}

/// Drains, unless `abort` comes first. The last line of the log is the ledger.
pub(super) async fn drain(
    health: &Health,
    serving: &mut Serving,
    pipelines: Vec<Pipeline>,
    timing: &Timing,
    abort: impl Future<Output = &'static str>,
) -> Ending {
    let started = Instant::now();
    health.stopping();
    info!(
        timeout_ms = whole_millis(timing.timeout),
        delay_ms = whole_millis(timing.delay),
        "Starting shutdown..."
    );
    let ledgers: Vec<Arc<Ledger>> = pipelines
        .iter()
        .map(|pipeline| Arc::clone(pipeline.ledger()))
        .collect();
    let in_time = tokio::select! {
        in_time = in_order(serving, pipelines, started, timing) => in_time,
        signal = abort => {
            warn!(signal, "second signal: everything that is not done is abandoned");
            false
        }
    };
    if !in_time {
        give_up(serving, &ledgers).await;
    }
    summary(&ledgers, in_time, started)
}

/// How long tasks that were told to end at once may take to do so: each does at its next wait.
const GIVE_UP: Duration = Duration::from_millis(500);

/// Ends the receivers, and waits until every task of the pipelines is gone and has booked what it
/// had as abandoned: only then is the ledger the last word.
async fn give_up(serving: &mut Serving, ledgers: &[Arc<Ledger>]) {
    serving.abort().await;
    let gone = async {
        while !ledgers.iter().all(|ledger| ledger.books().is_settled()) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    // What does not end even so stands in the ledger as queued or held.
    if tokio::time::timeout(GIVE_UP, gone).await.is_err() {
        warn!("some batches could not be given up");
    }
}

/// Receivers first, then the pipelines, side by side; returns whether all ended by themselves.
async fn in_order(
    serving: &mut Serving,
    pipelines: Vec<Pipeline>,
    started: Instant,
    timing: &Timing,
) -> bool {
    let deadline = started + timing.timeout;
    if !timing.delay.is_zero() {
        tokio::time::sleep(timing.delay).await;
        info!(elapsed_ms = millis(started), "drain delay over");
    }
    serving.stop();
    pipelines.iter().for_each(Pipeline::close);
    serving.finish(deadline).await;
    let drains = pipelines.into_iter().map(|pipeline| async move {
        let name = pipeline.ledger().pipeline().to_owned();
        let drained = pipeline.drain(deadline).await;
        info!(
            pipeline = %name,
            shards_ms = whole_millis(drained.shards),
            egress_ms = whole_millis(drained.egress),
            in_time = drained.in_time,
            "pipeline drained"
        );
        drained.in_time
    });
    join_all(drains).await.into_iter().all(|in_time| in_time)
}

/// One line for each pipeline and exporter, and the last one with the sums.
fn summary(ledgers: &[Arc<Ledger>], in_time: bool, started: Instant) -> Ending {
    let mut sum = Row::default();
    let mut is_whole = true;
    let mut text = Vec::new();
    for ledger in ledgers {
        let books = ledger.books();
        for (exporter, row) in rows::rows(&books) {
            log_row(ledger.pipeline(), exporter, &row);
        }
        is_whole &= is_done(&books);
        sum.add(&rows::worst(&books));
        if !books.is_balanced() {
            error!(
                pipeline = ledger.pipeline(),
                "the ledger does not balance: this is a defect of spandrel"
            );
        }
        text.push(ledger.to_string());
    }
    info!(
        received = sum.received,
        created = sum.created,
        refused = sum.refused,
        dropped = sum.dropped,
        failed = sum.failed,
        exported = sum.exported,
        abandoned = sum.abandoned,
        missed = missed(&sum),
        held = sum.held,
        queued = sum.queued,
        balanced = sum.is_balanced(),
        in_time,
        elapsed_ms = millis(started),
        ledger = text.join("; "),
        "Shutdown complete."
    );
    if is_whole {
        Ending::Drained
    } else {
        Ending::Abandoned
    }
}

/// Nothing is left inside, nothing was abandoned, everything is accounted for.
fn is_done(books: &Books) -> bool {
    books.is_balanced() && books.is_settled() && books.abandoned() == 0
}

/// Said only where there is any: where exporters came or went while the pipeline ran.
fn missed(row: &Row) -> Option<u64> {
    (row.missed > 0).then_some(row.missed)
}

fn log_row(pipeline: &str, exporter: &str, row: &Row) {
    info!(
        pipeline,
        exporter,
        received = row.received,
        created = row.created,
        refused = row.refused,
        dropped = row.dropped,
        failed = row.failed,
        exported = row.exported,
        abandoned = row.abandoned,
        missed = missed(row),
        held = row.held,
        queued = row.queued,
        balanced = row.is_balanced(),
        "ledger"
    );
}
