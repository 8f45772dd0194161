//! The end of a run: accepts nothing new, finishes what was accepted until the deadline, and
//! reports where every item is.

use std::pin::pin;
use std::sync::Arc;

use futures_util::future::{FutureExt as _, join_all};
use spandrel_config::service::DrainTiming;
use spandrel_pipeline::ledger::{Ledger, LedgerRow};
use spandrel_pipeline::pipeline::Pipeline;
use spandrel_pipeline::with_ledger_columns;
use tokio::time::Instant;
use tracing::{error, info, warn};

use crate::durable::Durables;
use crate::ledger_rows::{self, always, is_done, log_columns, log_row, some};
use crate::receivers::Receivers;
use crate::retiring::{RetiringPipelines, ledger_name, settled, told};
use crate::status::Status;
use crate::time_text::{millis, whole_millis};

/// The way a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Everything that was accepted was finished, and the ledger balances.
    Drained,
    /// Something was abandoned, the ledger does not balance, or a journal was not closed.
    Abandoned,
}

async fn drain_one(pipeline: Pipeline, deadline: Instant) -> bool {
    let name = ledger_name(&pipeline);
    told(&name, pipeline.drain(deadline).await)
}

/// The parts of a collector that must end, in their order.
pub(crate) struct Drain {
    pub(crate) receivers: Receivers,
    pub(crate) pipelines: Vec<Pipeline>,
    pub(crate) retiring: RetiringPipelines,
    pub(crate) durables: Durables,
    pub(crate) timing: DrainTiming,
}

impl Drain {
    /// Drains, unless `abort` comes first. The last line of the log is the ledger.
    pub(crate) async fn run(
        self,
        status: &Status,
        abort: impl Future<Output = &'static str>,
    ) -> Ending {
        let Self {
            mut receivers,
            pipelines,
            mut retiring,
            durables,
            timing,
        } = self;
        // A fused future: once it has resolved, it does not resolve again.
        let mut abort = pin!(abort.fuse());
        let started = Instant::now();
        status.stopping(timing.timeout);
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
            in_time = in_order(&mut receivers, pipelines, &mut retiring, started, timing) => {
                (in_time, started + timing.timeout)
            }
            signal = &mut abort => {
                warn!(signal, "second signal: unfinished work is abandoned");
                (false, Instant::now())
            }
        };
        let (mut retired, mut closing) = retiring.end();
        ledgers.append(&mut retired);
        if !in_time {
            give_up(&mut receivers, &ledgers).await;
        }
        closing.add_all(durables, deadline);
        let aborted = abort.map(|signal| warn!(signal, "second signal: journals have a second"));
        let unclosed = closing.finish(deadline, aborted).await;
        summary(&ledgers, in_time, &unclosed, started)
    }
}

/// Ends the receivers, and waits until every task of the pipelines is gone.
async fn give_up(receivers: &mut Receivers, ledgers: &[Arc<Ledger>]) {
    receivers.abort().await;
    // Tasks that still do not end show in the ledger as queued or held.
    if !settled(ledgers).await {
        warn!("some batches could not be given up");
    }
}

/// Drains the receivers first, then the pipelines side by side. Returns true if all ended by
/// themselves.
async fn in_order(
    receivers: &mut Receivers,
    pipelines: Vec<Pipeline>,
    retiring: &mut RetiringPipelines,
    started: Instant,
    timing: DrainTiming,
) -> bool {
    let deadline = started + timing.timeout;
    if !timing.delay.is_zero() {
        tokio::time::sleep(timing.delay).await;
        info!(elapsed_ms = millis(started), "drain delay over");
    }
    receivers.stop();
    pipelines.iter().for_each(Pipeline::close);
    receivers.finish(deadline).await;
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
    let mut sum = LedgerRow::default();
    let mut is_whole = unclosed.is_empty();
    let mut text = Vec::new();
    for ledger in ledgers {
        let books = ledger.books();
        for (exporter, row) in ledger_rows::rows(&books) {
            log_row(ledger.pipeline(), exporter, &row);
        }
        is_whole &= is_done(&books);
        sum.add(&ledger_rows::worst_row(&books));
        if !books.is_balanced() {
            error!(
                pipeline = ledger.pipeline(),
                "the ledger does not balance: this is a defect of spandrel"
            );
        }
        text.push(ledger.to_string());
    }
    with_ledger_columns!(log_columns {
        sum,
        [],
        [
            balanced = sum.is_balanced(),
            unclosed = (!unclosed.is_empty()).then(|| unclosed.join(", ")),
            in_time = in_time && unclosed.is_empty(),
            elapsed_ms = millis(started),
            ledger = text.join("; "),
            "Shutdown complete."
        ]
    });
    if is_whole {
        Ending::Drained
    } else {
        Ending::Abandoned
    }
}
