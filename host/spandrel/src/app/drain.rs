//! The end of a run: accepts nothing new, finishes what was accepted until the deadline, and
//! reports where every item is.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{FutureExt as _, join_all};
use spandrel_config::Config;
use spandrel_pipeline::ledger::{Books, Ledger};
use spandrel_pipeline::pipeline::{Drained, Pipeline};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use super::durable::{Closing, Durable};
use super::live::Live;
use super::receivers::Serving;
use super::rows::{self, Row};
use super::{Ending, millis, whole_millis};
use crate::telemetry::health::Health;

/// The time limits of a drain.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Timing {
    /// The limit for all phases together, the delay included.
    pub(crate) timeout: Duration,
    /// The time to go on accepting after readiness is gone.
    pub(crate) delay: Duration,
}

impl Timing {
    pub(crate) fn of(config: &Config) -> Self {
        Self {
            timeout: config.service.drain_timeout,
            delay: config.service.drain_delay,
        }
    }
}

/// Pipelines that were removed while the collector runs. Each drains on its own.
#[derive(Debug, Default)]
pub(crate) struct Retiring {
    closing: Closing,
    /// Ends the drains, but not the closing of journals.
    given_up: CancellationToken,
    /// Ledgers of the pipelines that are not done, and of those that did not end well.
    ledgers: Vec<Arc<Ledger>>,
}

impl Retiring {
    /// Takes a pipeline that no receiver leads to any more.
    pub(crate) fn add(&mut self, pipeline: Pipeline, durable: Option<Durable>, timeout: Duration) {
        self.closing.look();
        self.ledgers.retain(|ledger| !is_done(&ledger.books()));
        pipeline.close();
        let ledger = Arc::clone(pipeline.ledger());
        self.ledgers.push(Arc::clone(&ledger));
        let deadline = Instant::now() + timeout;
        let given_up = self.given_up.clone();
        let name = ledger.pipeline().to_owned();
        let drained = async move {
            let drained = given_up.run_until_cancelled(async move {
                let name = ledger_name(&pipeline);
                told(&name, pipeline.retire(deadline).await)
            });
            if drained.await.is_none() {
                settled(&[ledger]).await;
                return Instant::now();
            }
            for (exporter, row) in rows::rows(&ledger.books()) {
                log_row(ledger.pipeline(), exporter, &row);
            }
            deadline
        };
        self.closing.add(name, durable, drained);
    }

    /// Waits until every pipeline is empty and its journal closed, at most until the deadline.
    /// Returns true if that was in time.
    async fn finish(&mut self, deadline: Instant) -> bool {
        let all = self.closing.all();
        let in_time = tokio::time::timeout_at(deadline, all).await.is_ok();
        self.ledgers.retain(|ledger| !is_done(&ledger.books()));
        in_time
    }
}

async fn drain_one(pipeline: Pipeline, deadline: Instant) -> bool {
    let name = ledger_name(&pipeline);
    told(&name, pipeline.drain(deadline).await)
}

fn ledger_name(pipeline: &Pipeline) -> String {
    pipeline.ledger().pipeline().to_owned()
}

/// Logs how a pipeline ended. Returns true if it was in time.
fn told(name: &str, drained: Drained) -> bool {
    info!(
        pipeline = name,
        shards_ms = whole_millis(drained.shards),
        egress_ms = whole_millis(drained.egress),
        in_time = drained.in_time,
        on_disk = some(drained.kept),
        "pipeline drained"
    );
    drained.in_time
}

/// Drains, unless `abort` comes first. The last line of the log is the ledger.
pub(super) async fn drain(
    health: &Health,
    live: Live,
    abort: impl Future<Output = &'static str>,
) -> Ending {
    let Live {
        mut serving,
        pipelines,
        mut retiring,
        durables,
        timing,
        ..
    } = live;
    // A fused future: once it has resolved, it does not resolve again.
    let mut abort = pin!(abort.fuse());
    let started = Instant::now();
    health.stopping();
    info!(
        timeout_ms = whole_millis(timing.timeout),
        delay_ms = whole_millis(timing.delay),
        "Starting shutdown..."
    );
    let mut ledgers: Vec<Arc<Ledger>> = pipelines
        .iter()
        .map(|pipeline| Arc::clone(pipeline.ledger()))
        .collect();
    let (in_time, deadline) = tokio::select! {
        in_time = in_order(&mut serving, pipelines, &mut retiring, started, timing) => {
            (in_time, started + timing.timeout)
        }
        signal = &mut abort => {
            warn!(signal, "second signal: everything that is not done is abandoned");
            (false, Instant::now())
        }
    };
    retiring.given_up.cancel();
    ledgers.append(&mut retiring.ledgers);
    if !in_time {
        give_up(&mut serving, &ledgers).await;
    }
    let Retiring { mut closing, .. } = retiring;
    closing.add_all(durables, deadline);
    let aborted = abort.map(|signal| warn!(signal, "second signal: journals have a second"));
    let unclosed = closing.finish(deadline, aborted).await;
    summary(&ledgers, in_time, &unclosed, started)
}

/// The time that tasks get to end after they were told to end at once. Each ends at its next wait.
const GIVE_UP: Duration = Duration::from_millis(500);

/// Ends the receivers, and waits until every task of the pipelines is gone.
async fn give_up(serving: &mut Serving, ledgers: &[Arc<Ledger>]) {
    serving.abort().await;
    // Tasks that still do not end show in the ledger as queued or held.
    if !settled(ledgers).await {
        warn!("some batches could not be given up");
    }
}

/// Waits until every task of the given-up pipelines is gone and has booked its items as abandoned.
/// The ledger is final only then. Returns false if they take longer than [`GIVE_UP`].
async fn settled(ledgers: &[Arc<Ledger>]) -> bool {
    let gone = async {
        while !ledgers.iter().all(|ledger| ledger.books().is_settled()) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(GIVE_UP, gone).await.is_ok()
}

/// Drains the receivers first, then the pipelines side by side. Returns true if all ended by
/// themselves.
async fn in_order(
    serving: &mut Serving,
    pipelines: Vec<Pipeline>,
    retiring: &mut Retiring,
    started: Instant,
    timing: Timing,
) -> bool {
    let deadline = started + timing.timeout;
    if !timing.delay.is_zero() {
        tokio::time::sleep(timing.delay).await;
        info!(elapsed_ms = millis(started), "drain delay over");
    }
    serving.stop();
    pipelines.iter().for_each(Pipeline::close);
    serving.finish(deadline).await;
    let drains = pipelines
        .into_iter()
        .map(|pipeline| drain_one(pipeline, deadline));
    let (in_time, retired) = tokio::join!(join_all(drains), retiring.finish(deadline));
    retired && in_time.into_iter().all(|in_time| in_time)
}

/// Logs one line for each pipeline and exporter, and a last one with the sums and with the
/// pipelines whose journals could not be closed because of the disk.
fn summary(
    ledgers: &[Arc<Ledger>],
    in_time: bool,
    unclosed: &[String],
    started: Instant,
) -> Ending {
    let mut sum = Row::default();
    let mut is_whole = unclosed.is_empty();
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
        overflowed = some(sum.overflowed),
        exported = sum.exported,
        abandoned = sum.abandoned,
        missed = some(sum.missed),
        held = sum.held,
        queued = sum.queued,
        replayed = some(sum.replayed),
        recovered = some(sum.recovered),
        quarantined = some(sum.quarantined),
        damaged = some(sum.damaged),
        unknown_losses = some(sum.unknown_losses),
        journaled = some(sum.journaled),
        on_disk = some(sum.on_disk),
        balanced = sum.is_balanced(),
        unclosed = (!unclosed.is_empty()).then(|| unclosed.join(", ")),
        in_time = in_time && unclosed.is_empty(),
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

/// Returns true if nothing is left inside, nothing was abandoned and everything is accounted for.
/// Items that a journal keeps for the next start count as neither.
fn is_done(books: &Books) -> bool {
    books.is_balanced() && books.is_settled() && books.abandoned() == 0
}

/// Returns the number unless it is zero. Such fields are logged only where they apply: exporters
/// that came or went while the pipeline ran, and journals.
fn some(items: u64) -> Option<u64> {
    (items > 0).then_some(items)
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
        overflowed = some(row.overflowed),
        exported = row.exported,
        abandoned = row.abandoned,
        missed = some(row.missed),
        held = row.held,
        queued = row.queued,
        replayed = some(row.replayed),
        recovered = some(row.recovered),
        quarantined = some(row.quarantined),
        damaged = some(row.damaged),
        unknown_losses = some(row.unknown_losses),
        journaled = some(row.journaled),
        on_disk = some(row.on_disk),
        balanced = row.is_balanced(),
        "ledger"
    );
}
