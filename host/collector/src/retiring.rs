//! Pipelines that a reload removed. Each drains on its own while the collector runs.

use std::sync::Arc;
use std::time::Duration;

use spandrel_pipeline::ledger::Ledger;
use spandrel_pipeline::pipeline::{DrainReport, Pipeline};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::info;

use crate::durable::{DurableParts, JournalClosing};
use crate::ledger_rows::{self, is_done, log_row, some};
use crate::time_text::whole_millis;

/// Pipelines that were removed while the collector runs. Each drains on its own.
#[derive(Debug, Default)]
pub(crate) struct RetiringPipelines {
    closing: JournalClosing,
    /// Ends the drains, but not the closing of journals.
    given_up: CancellationToken,
    /// Ledgers of the pipelines that are not done, and of those that did not end well.
    ledgers: Vec<Arc<Ledger>>,
}

impl RetiringPipelines {
    /// Takes a pipeline that no receiver leads to any more.
    pub(crate) fn add(
        &mut self,
        pipeline: Pipeline,
        durable: Option<DurableParts>,
        timeout: Duration,
    ) {
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
            for (exporter, row) in ledger_rows::rows(&ledger.books()) {
                log_row(ledger.pipeline(), exporter, &row);
            }
            deadline
        };
        self.closing.add(name, durable, drained);
    }

    /// Waits until every pipeline is empty and its journal closed, at most until the deadline.
    /// Returns true if that was in time.
    pub(crate) async fn finish(&mut self, deadline: Instant) -> bool {
        let all = self.closing.all();
        let in_time = tokio::time::timeout_at(deadline, all).await.is_ok();
        self.ledgers.retain(|ledger| !is_done(&ledger.books()));
        in_time
    }

    /// Ends the drains that are still under way. Returns the ledgers of the pipelines that are not
    /// done, and the closing of the journals, which goes on.
    pub(crate) fn end(self) -> (Vec<Arc<Ledger>>, JournalClosing) {
        self.given_up.cancel();
        (self.ledgers, self.closing)
    }
}

pub(crate) fn ledger_name(pipeline: &Pipeline) -> String {
    pipeline.ledger().pipeline().to_owned()
}

/// Logs how a pipeline ended. Returns true if it was in time.
pub(crate) fn told(name: &str, drained: DrainReport) -> bool {
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

/// The time that tasks get to end after they were told to end at once. Each ends at its next wait.
const GIVE_UP: Duration = Duration::from_millis(500);

/// Waits until every task of the given-up pipelines is gone and has booked its items as abandoned.
/// The ledger is final only then. Returns false if they take longer than [`GIVE_UP`].
pub(crate) async fn settled(ledgers: &[Arc<Ledger>]) -> bool {
    let gone = async {
        while !ledgers.iter().all(|ledger| ledger.books().is_settled()) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(GIVE_UP, gone).await.is_ok()
}
