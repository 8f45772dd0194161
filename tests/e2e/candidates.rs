//! Candidates beside the running generation: a canary gets a share of the traces, a shadow a copy
//! of all. The tests follow each until it is promoted or cancelled.

use std::collections::HashMap;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use spandrel_tests::admin::{Admin, Report};
use spandrel_tests::artifacts::{guest, plugin};
use spandrel_tests::backend::Backend;
use spandrel_tests::client::Client;
use spandrel_tests::collector::{Collector, Ended, Setup};
use spandrel_tests::config::Config;
use spandrel_tests::shop::attribute::find;
use spandrel_tests::shop::{Shop, spans};
use spandrel_tests::until::until;

const STAGE: &str = "wasm/stage";

struct Beside {
    backend: Backend,
    collector: Collector,
    admin: Admin,
    client: Client,
    shop: Shop,
}

impl Beside {
    async fn start(module: &Path, keys: &str) -> Result<Self> {
        let backend = Backend::start().await?;
        backend.keep();
        let config = Config::new(backend.endpoint()).stage("stage", module, keys);
        let collector = Collector::start(&Setup::new(&config.yaml())?.admin()).await?;
        Ok(Self {
            admin: collector.admin()?,
            client: Client::connect(&collector.address("otlp")?).await?,
            backend,
            collector,
            shop: Shop::new(81),
        })
    }

    /// Starts a collector whose stage tags every span with the generation `old`.
    async fn tagging(keys: &str) -> Result<Self> {
        let keys = format!("config: {{ target: span, default: {{ tagged: old }} }}{keys}");
        Self::start(&plugin("tag-by-service")?, &keys).await
    }

    /// Starts the same plugin with the tag `new`, beside the running one.
    async fn tag_beside(&self, key: &str, value: Value) -> Result<Report> {
        let mut request = json!({ "config": { "target": "span", "default": { "tagged": "new" } } });
        request[key] = value;
        self.admin.ask_swap(STAGE, &request).await?.ok()
    }

    async fn send(&mut self, requests: usize) -> Result<()> {
        for _ in 0..requests {
            self.client.send(self.shop.request(60)).await?;
        }
        Ok(())
    }

    /// Returns the number of traces that arrived since the last call, by the tag that all of their
    /// spans have.
    async fn tags(&self) -> Result<HashMap<String, usize>> {
        let sent = self.client.delivered.len() as u64;
        let all = |taken: &spandrel_tests::backend::Taken| taken.totals.spans == sent;
        self.backend.wait("all spans", all).await?;
        let taken = std::mem::take(&mut self.backend.taken().traces);
        let mut tags: HashMap<Vec<u8>, String> = HashMap::new();
        for (_, span) in spans(&taken) {
            let tag = find(&span.attributes, "tagged").context("a span without a tag")?;
            let known = tags.entry(span.trace_id.clone());
            let known = known.or_insert_with(|| tag.to_owned());
            ensure!(known == tag, "a trace with both tags: {span:?}");
        }
        let mut counts = HashMap::new();
        for tag in tags.into_values() {
            *counts.entry(tag).or_default() += 1;
        }
        Ok(counts)
    }

    /// Drains, and checks that everything is accounted for and nothing was lost.
    async fn finish(self) -> Result<Ended> {
        let ended = self.collector.stop().await?;
        ended.expect_code(0)?;
        let ledger = ended.ledger("traces")?;
        ledger.check()?;
        let sent = self.client.delivered.len() as u64;
        ensure!(ledger.received == sent && ledger.dropped == 0, "{ledger:?}");
        ensure!(
            self.backend.taken().spans.len() as u64 == sent,
            "{ledger:?}"
        );
        ensure!(self.backend.taken().duplicates() == 0, "{ledger:?}");
        Ok(ended)
    }
}

fn count(counts: &HashMap<String, usize>, tag: &str) -> usize {
    counts.get(tag).copied().unwrap_or_default()
}

/// One trace in ten goes to the canary, as a whole. The API, the metrics and the ledger show the
/// canary. After its promotion it gets all traces.
#[tokio::test]
async fn a_canary_gets_its_share() -> Result<()> {
    let mut it = Beside::tagging("").await?;
    it.send(20).await?;
    let before = it.tags().await?;
    ensure!(count(&before, "new") == 0, "{before:?}");
    let report = it.tag_beside("canary", json!(10)).await?;
    ensure!(report.outcome == "canary 10%", "{report:?}");
    it.send(400).await?;
    let tags = it.tags().await?;
    let (old, new) = (count(&tags, "old"), count(&tags, "new"));
    let share = new as f64 / (old + new) as f64;
    // With 1,500 traces or more, six standard deviations are 0.05.
    ensure!(old + new > 1_500 && (share - 0.1).abs() < 0.05, "{tags:?}");
    let view = it.admin.stage(STAGE).await?;
    let of = |pointer: &str| view.pointer(pointer).cloned().unwrap_or_default();
    ensure!(of("/candidate/status") == "canary 10%", "{view}");
    ensure!(of("/candidate/number") == report.generation, "{view}");
    let labels = [("stage", STAGE), ("generation", "2")];
    let metrics = it.collector.metrics().await?;
    let seen = metrics.sum("spandrel_generation_in_items", &labels);
    ensure!(seen > 0 && of("/candidate/figures/input") == seen, "{view}");
    ensure!(metrics.sum("spandrel_stage_candidate", &[("stage", STAGE)]) == 2);
    let books = it.admin.pipeline("traces").await?;
    let pointer = "/ledger/stages/0/generations";
    let generations = books.pointer(pointer).and_then(Value::as_array);
    let generations = generations.with_context(|| books.to_string())?;
    let inputs = generations
        .iter()
        .filter_map(|books| books["input"].as_u64());
    ensure!(inputs.sum::<u64>() == it.client.delivered.len() as u64);
    ensure!(it.admin.books().await?.balanced, "{books}");
    let report: Report = it.admin.ask_to("promote", STAGE).await?.ok()?;
    ensure!(report.outcome == "promoted" && report.generation == 2);
    it.send(20).await?;
    let after = it.tags().await?;
    ensure!(count(&after, "old") == 0, "{after:?}");
    it.finish().await?;
    Ok(())
}

/// A cancelled canary gets no further trace, and then there is no candidate to promote.
#[tokio::test]
async fn a_canary_is_cancelled() -> Result<()> {
    let mut it = Beside::tagging("").await?;
    it.tag_beside("canary", json!(50.0)).await?;
    it.send(50).await?;
    let during = it.tags().await?;
    ensure!(count(&during, "new") > 0, "{during:?}");
    let second = json!({ "module": plugin("drop-duplicates")?, "config": {} });
    let second = it.admin.ask_swap(STAGE, &second).await?.refusal(409)?;
    ensure!(second.contains("promote or cancel"), "{second}");
    let report: Report = it.admin.ask_to("cancel", STAGE).await?.ok()?;
    ensure!(report.outcome == "cancelled" && report.generation == 2);
    it.send(50).await?;
    let after = it.tags().await?;
    ensure!(count(&after, "new") == 0, "{after:?}");
    let nothing = it.admin.ask_to("promote", STAGE).await?.refusal(404)?;
    ensure!(nothing.contains("no candidate"), "{nothing}");
    it.finish().await?;
    Ok(())
}

/// A canary that does well until the end of its probation is promoted automatically.
#[tokio::test]
async fn a_good_canary_promotes_itself() -> Result<()> {
    let mut it = Beside::tagging(", probation: { time: 1s, batches: 10 }").await?;
    it.tag_beside("canary", json!(40)).await?;
    it.send(100).await?;
    let event = it.admin.wait_for(STAGE, "promoted", 0).await?;
    ensure!(
        event.by == "probation" && event.generation == 2,
        "{event:?}"
    );
    it.tags().await?;
    it.send(10).await?;
    let after = it.tags().await?;
    ensure!(count(&after, "old") == 0, "{after:?}");
    it.finish().await?;
    Ok(())
}

/// A canary that fails is cancelled automatically, with the reason; nothing is lost.
#[tokio::test]
async fn a_bad_canary_is_cancelled_by_itself() -> Result<()> {
    let mut it = Beside::start(&guest("unchanged")?, "on_fault: pass").await?;
    it.send(20).await?;
    let request = json!({
        "module": guest("trap_on_the_thousandth")?, "config": { "call": 10 }, "canary": 30,
    });
    let report: Report = it.admin.ask_swap(STAGE, &request).await?.ok()?;
    ensure!(report.outcome == "canary 30%", "{report:?}");
    it.send(60).await?;
    let event = it.admin.wait_for(STAGE, "cancelled", 0).await?;
    let right = event.by == "probation" && event.detail.contains("calls failed");
    ensure!(right, "{event:?}");
    ensure!(it.admin.running(STAGE).await? == 1);
    it.send(20).await?;
    it.finish().await?;
    Ok(())
}

/// Nothing of a shadow is exported. Its report lists differing verdicts by service and span name,
/// with examples of spans that were sent.
#[tokio::test]
async fn a_shadow_only_reports() -> Result<()> {
    let mut it = Beside::start(&guest("unchanged")?, "on_fault: pass").await?;
    it.send(10).await?;
    let request = json!({ "module": guest("drop_everything")?, "shadow": true });
    let report: Report = it.admin.ask_swap(STAGE, &request).await?.ok()?;
    ensure!(report.outcome == "shadow", "{report:?}");
    let before = it.client.delivered.len() as u64;
    it.send(40).await?;
    let shown = it.client.delivered.len() as u64 - before;
    let path = "/v1/stages/wasm%2Fstage/shadow";
    let view = until("the shadow's report", || async {
        let view: Value = it.admin.get(path).await.ok()?;
        (view["compared"] == shown).then_some(view)
    });
    let view = view.await?;
    ensure!(view["different"] == shown && view["faults"] == 0, "{view}");
    // Spans that were compared in the stage may still be on their way to the backend.
    let sent = it.client.delivered.len() as u64;
    it.backend
        .wait("all spans", |taken| taken.totals.spans == sent)
        .await?;
    let differences = view["differences"].as_array().context("no differences")?;
    ensure!(differences.len() > 5, "{view}");
    for difference in differences {
        ensure!(difference["running"] == "keep", "{difference}");
        ensure!(difference["shadow"] == "drop: test", "{difference}");
        ensure!(difference["count"].as_u64() > Some(0), "{difference}");
        let example = difference.pointer("/examples/0/1").and_then(Value::as_str);
        let id = u64::from_str_radix(example.context("no example")?, 16)?;
        let taken = it.backend.taken();
        let (resource, span) = taken.find(id).context("an example that was never sent")?;
        let service = find(&resource.attributes, "service.name").unwrap_or_default();
        ensure!(difference["service"] == service && difference["span"] == span.name.as_str());
    }
    let cancelled: Report = it.admin.ask_to("cancel", STAGE).await?.ok()?;
    ensure!(cancelled.outcome == "cancelled");
    it.finish().await?;
    Ok(())
}

/// The edits of a shadow are reported and not exported. After its promotion they are exported.
#[tokio::test]
async fn a_shadow_is_promoted() -> Result<()> {
    let mut it = Beside::tagging("").await?;
    it.tag_beside("shadow", json!(true)).await?;
    it.send(30).await?;
    let during = it.tags().await?;
    ensure!(count(&during, "new") == 0, "{during:?}");
    let path = "/v1/stages/wasm%2Fstage/shadow";
    let sent = it.client.delivered.len();
    let view = until("the shadow's report", || async {
        let view: Value = it.admin.get(path).await.ok()?;
        (view["compared"] == sent).then_some(view)
    });
    let view = view.await?;
    ensure!(view["different"] == sent, "{view}");
    let report: Report = it.admin.ask_to("promote", STAGE).await?.ok()?;
    ensure!(report.outcome == "promoted" && report.generation == 2);
    it.send(30).await?;
    let after = it.tags().await?;
    ensure!(count(&after, "old") == 0, "{after:?}");
    it.finish().await?;
    Ok(())
}
