//! The demo, step by step.

use std::path::PathBuf;

use anyhow::{Context as _, Result};
use spandrel_tests::artifacts;
use spandrel_tests::backend::Backend;
use spandrel_tests::collector::{Collector, Setup};
use spandrel_tests::log::Line;
use spandrel_tests::until::until;

use super::chain::{self, STAGES};
use super::report::{Report, Stage};
use super::show::Show;
use super::table::figure;
use super::traffic::Traffic;

/// Runs the demo. Returns whether everything agrees.
pub(crate) async fn run(show: &mut Show) -> Result<bool> {
    let plugins = build(show)?;
    let mut backend = Backend::start().await?;
    backend.keep();
    let setup = Setup::new(&chain::config(&plugins, &backend.endpoint()))?;
    let collector = Collector::start(&setup).await?;
    let address = collector.address("otlp")?;
    let stages = STAGES.len();
    show.step(&format!(
        "the collector listens on {address}, with {stages} plugins in front of the backend"
    ));

    let mut traffic = Traffic::new();
    let (visits, probes) = (traffic.minute.visits, traffic.minute.probes);
    show.step(&format!(
        "sending a minute of the shop: {visits} visits, {probes} health checks, 8 services"
    ));
    traffic.send_minute(&address).await?;
    let spans = figure(traffic.sent.spans);
    show.step(&format!("sent {spans} spans, all answered with OK"));

    let stages = settled(&collector, &backend).await?;
    let mut report = Report::new(&traffic.sent, &backend, stages);
    report.show_middle(show);
    report.show_span(show, &traffic, &backend);

    traffic.send_last(&address).await?;
    show.title("SIGTERM, in the moment in which the last visitors came");
    let lines_before = collector.log().lines().len();
    let ended = collector.stop().await?;
    let lines = ended.log.lines();
    let last_words: Vec<&Line> = lines.iter().skip(lines_before).collect();
    for line in &last_words {
        show.line(&format!("  {}", shown(line)));
    }
    let ledger = ended.ledger("traces")?;
    let code = ended.code()?;
    backend.go_away().await?;
    report.finish(&traffic.sent, &backend, ledger, code);
    report.show_end(show);
    show.object(&report.json());
    Ok(report.agrees())
}

/// Builds what is missing, with progress. Names the folder of the plugins.
fn build(show: &Show) -> Result<PathBuf> {
    if artifacts::wasm_target()? {
        show.step("added the target wasm32-wasip2");
    }
    show.step("building the collector");
    artifacts::collector()?;
    show.step("building the plugins");
    artifacts::plugins()
}

/// Waits until nothing of the minute is inside any more, and reads the stages' figures.
async fn settled(collector: &Collector, backend: &Backend) -> Result<Vec<Stage>> {
    let quiet = || async {
        let metrics = collector.metrics().await.ok()?;
        let stages = STAGES.map(|stage| Stage::read(&metrics, stage)).to_vec();
        let last = stages.last()?;
        let done = stages.iter().all(|stage| stage.held == 0) && last.input > 0;
        (done && backend.totals().spans == last.output).then_some(stages)
    };
    let stages = until("the minute to be through", quiet).await;
    stages.with_context(|| format!("the collector's log:\n{}", collector.log().tail()))
}

/// A line of the log as a person reads it.
fn shown(line: &Line) -> String {
    if line.message().is_empty() {
        return line.raw.clone();
    }
    // The ledger as one sentence is left out: the table that follows says the same.
    let left_out = ["timestamp", "level", "target", "ledger"];
    let fields: Vec<String> = line
        .fields()
        .into_iter()
        .filter(|(name, _)| !left_out.contains(&name.as_str()))
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    format!("{:<44} {}", line.message(), fields.join(" "))
}
