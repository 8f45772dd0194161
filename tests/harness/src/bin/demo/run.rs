//! The demo, step by step.

use std::path::PathBuf;

use anyhow::{Context as _, Result};
use spandrel_harness::admin::Admin;
use spandrel_harness::artifacts;
use spandrel_harness::backend::Backend;
use spandrel_harness::collector::{Collector, Setup};
use spandrel_harness::log::Line;
use spandrel_harness::until::until;

use super::chain::{self, STAGES};
use super::report::{Report, Stage};
use super::show::Show;
use super::swaps::{BAD, Candidates, GOOD};
use super::table::figure;
use super::traffic::Traffic;

/// The rounds of the minute before plugins are changed.
const ROUNDS_BEFORE: usize = 3;

/// Runs the demo. Returns true if everything agrees.
pub(crate) async fn run(show: &mut Show) -> Result<bool> {
    let (plugins, candidates) = build(show)?;
    let mut backend = Backend::start().await?;
    backend.keep();
    let setup = Setup::new(&chain::config(&plugins, &backend.endpoint()))?.admin();
    let collector = Collector::start(&setup).await?;
    let address = collector.address("otlp")?;
    let admin = collector.admin()?;
    let stages = STAGES.len();
    show.step(&format!(
        "the collector listens on {address}, with {stages} plugins in front of the backend"
    ));

    let mut traffic = Traffic::connect(&address).await?;
    let (visits, probes) = (traffic.minute.visits, traffic.minute.probes);
    show.step(&format!(
        "sending a minute of the shop: {visits} visits, {probes} health checks, 8 services"
    ));
    traffic.send_rounds(ROUNDS_BEFORE).await?;
    let mut swapped = traffic.send_during(candidates.swap(&admin, show)).await?;
    swapped.across = traffic.send_again().await?;
    let averted = traffic
        .send_during(candidates.try_bad(&admin, show))
        .await?;
    traffic.send_rest().await?;
    let spans = figure(traffic.sent.spans);
    show.step(&format!("sent {spans} spans, all answered with OK"));

    let stages = settled(&collector, &backend).await?;
    let recognised = dropped_by_running(&admin, GOOD).await?;
    let dropped = stages.iter().find(|stage| stage.name == BAD);
    let mut report = Report::new(&traffic.sent, &backend, &stages);
    report.check(swapped.checks(recognised));
    report.check(averted.checks(dropped.map_or(0, Stage::dropped)));
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
    let mut object = report.json();
    if let Some(object) = object.as_object_mut() {
        object.insert("swapped".to_owned(), swapped.json());
        object.insert("averted".to_owned(), averted.json());
    }
    show.object(&object);
    Ok(report.agrees())
}

/// Builds what is missing and shows progress. Returns the folder of the plugins.
fn build(show: &Show) -> Result<(PathBuf, Candidates)> {
    if artifacts::wasm_target()? {
        show.step("added the target wasm32-wasip2");
    }
    show.step("building the collector");
    artifacts::collector()?;
    show.step("building the plugins");
    Ok((artifacts::plugins()?, Candidates::build()?))
}

/// Returns the number of spans that a stage's running generation has dropped.
async fn dropped_by_running(admin: &Admin, stage: &str) -> Result<u64> {
    let view = admin.stage(stage).await?;
    let dropped = view.pointer("/running/figures/dropped");
    let dropped = dropped.and_then(serde_json::Value::as_u64);
    dropped.with_context(|| view.to_string())
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

/// Formats a line of the log for people.
fn shown(line: &Line) -> String {
    if line.message().is_empty() {
        return line.raw.clone();
    }
    // The field with the ledger as one sentence is left out: the table that follows says the same.
    let left_out = ["timestamp", "level", "target", "ledger"];
    let fields: Vec<String> = line
        .fields()
        .into_iter()
        .filter(|(name, _)| !left_out.contains(&name.as_str()))
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    format!("{:<44} {}", line.message(), fields.join(" "))
}
