//! Changes plugins in the middle of the traffic: a good one, one that is refused, and one that is
//! rolled back.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};
use spandrel_harness::admin::{Admin, Event, Report};
use spandrel_harness::artifacts;
use tokio::time::Instant;

use super::show::Show;
use super::table::figure;

/// The stage where the next build of the same plugin takes over.
pub(crate) const GOOD: &str = "wasm/drop_duplicates";
/// The stage where the bad plugins try to take over.
pub(crate) const BAD: &str = "wasm/tag_by_service";

/// The plugins that are swapped in, or refused.
#[derive(Debug)]
pub(crate) struct Candidates {
    /// `drop-duplicates` from changed source.
    next: PathBuf,
    /// A plugin that panics on every batch with spans.
    traps: PathBuf,
    /// A plugin that causes no fault, and drops everything.
    drops: PathBuf,
}

/// The result of the good swap.
#[derive(Debug)]
pub(crate) struct Swapped {
    report: Report,
    /// Spans from before the swap that were sent again after it.
    pub(crate) across: u64,
}

/// The results of the bad swaps.
#[derive(Debug)]
pub(crate) struct Averted {
    /// The reason why the first was refused.
    refusal: String,
    bad: Report,
    rolled_back: Event,
    after: Duration,
    /// The number of spans that the second dropped while it had the stage.
    pub(crate) dropped: u64,
}

impl Candidates {
    /// Builds what is missing.
    pub(crate) fn build() -> Result<Self> {
        Ok(Self {
            next: artifacts::sdk_guest("drop_duplicates_next")?,
            traps: artifacts::one_guest("trap_on_spans")?,
            drops: artifacts::one_guest("drop_everything")?,
        })
    }

    /// Swaps to the next build.
    pub(crate) async fn swap(&self, admin: &Admin, show: &Show) -> Result<Swapped> {
        show.step("swapping drop-duplicates for its next build, while spans pass");
        let report = admin.swap(GOOD, &self.next).await?;
        show.line(&format!(
            "          generation {} after {}, state {}, longest pause of a shard {}, {} ms from file to traffic",
            report.generation,
            report.previous,
            report.state,
            milliseconds(report.pause_us),
            report.elapsed_ms
        ));
        Ok(Swapped { report, across: 0 })
    }

    /// Tries the bad plugins.
    pub(crate) async fn try_bad(&self, admin: &Admin, show: &Show) -> Result<Averted> {
        show.step("swapping tag-by-service for a plugin that panics on every span");
        let request = json!({ "module": self.traps });
        let refusal = admin.ask_swap(BAD, &request).await?.refusal(422)?;
        show.line(&format!("          refused: {refusal}"));

        show.step("swapping it for one that does nothing wrong, and drops everything");
        let before = admin.history().await?;
        let before = before.last().map_or(0, |event| event.sequence);
        let bad = admin.swap(BAD, &self.drops).await?;
        let published = Instant::now();
        show.line(&format!(
            "          generation {} published",
            bad.generation
        ));
        let rolled_back = admin.wait_for(BAD, "rolled back", before).await?;
        let after = published.elapsed();
        let dropped = dropped(admin, bad.generation).await?;
        show.step(&format!(
            "rolled back by itself after {} ms, {} spans were dropped",
            after.as_millis(),
            figure(dropped)
        ));
        show.line(&format!("          {}", rolled_back.detail));
        Ok(Averted {
            refusal,
            bad,
            rolled_back,
            after,
            dropped,
        })
    }
}

/// Returns the number of spans that a generation of the stage [`BAD`] has dropped, by the
/// pipeline's ledger.
async fn dropped(admin: &Admin, generation: u64) -> Result<u64> {
    let pipeline = admin.pipeline("traces").await?;
    let columns = pipeline.pointer("/ledger/stages").and_then(Value::as_array);
    let generations = columns.into_iter().flatten().filter_map(|column| {
        let is_it = column.get("stage").and_then(Value::as_str) == Some(BAD);
        is_it
            .then(|| column.get("generations")?.as_array())
            .flatten()
    });
    let number = |figures: &Value, name: &str| figures.get(name).and_then(Value::as_u64);
    let mut all = generations.flatten();
    let figures = all.find(|figures| number(figures, "generation") == Some(generation));
    let dropped = figures.and_then(|figures| number(figures, "dropped"));
    dropped.with_context(|| format!("generation {generation} is in no column of {pipeline}"))
}

impl Swapped {
    /// Returns the conditions that must hold. `recognised` is the number of spans that the new
    /// generation dropped.
    pub(crate) fn checks(&self, recognised: u64) -> Vec<(&'static str, bool)> {
        let report = &self.report;
        let is_done = report.outcome == "published" && report.generation == 2;
        vec![
            (
                "drop-duplicates was swapped under traffic, its state carried",
                is_done && report.state == "carried",
            ),
            (
                "spans from before the swap, sent again after it, were recognised",
                self.across > 0 && recognised >= self.across,
            ),
        ]
    }

    pub(crate) fn json(&self) -> Value {
        let report = &self.report;
        json!({
            "generation": report.generation,
            "state": report.state,
            "pause_us": report.pause_us,
            "elapsed_ms": report.elapsed_ms,
            "sent_again": self.across,
        })
    }
}

impl Averted {
    /// Returns the conditions that must hold. `dropped` is the number of spans that the whole stage
    /// dropped; its good plugin drops none.
    pub(crate) fn checks(&self, dropped: u64) -> Vec<(&'static str, bool)> {
        let rolled_back = &self.rolled_back;
        vec![
            (
                "the plugin that panics was refused before it saw the traffic",
                self.refusal.contains("probe"),
            ),
            (
                "the plugin that drops everything was rolled back by itself",
                rolled_back.by == "probation" && rolled_back.generation == self.bad.previous,
            ),
            (
                "what it dropped is counted, under its reason",
                self.dropped > 0 && self.dropped == dropped,
            ),
        ]
    }

    pub(crate) fn json(&self) -> Value {
        json!({
            "refused": self.refusal,
            "rolled_back_after_ms": u64::try_from(self.after.as_millis()).unwrap_or(u64::MAX),
            "why": self.rolled_back.detail,
            "dropped": self.dropped,
        })
    }
}

fn milliseconds(us: u64) -> String {
    format!("{}.{} ms", us / 1000, us % 1000 / 100)
}
