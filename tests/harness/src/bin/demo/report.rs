//! The results of the demo: figures, a span before and after, the ledger, the verdict.

use std::collections::BTreeMap;

use opentelemetry_proto::tonic::common::v1::KeyValue;
use serde_json::{Value, json};
use spandrel_harness::backend::Backend;
use spandrel_harness::ledger::Ledger;
use spandrel_harness::metrics::Metrics;
use spandrel_harness::shop::attribute::{find, show as shown};
use spandrel_harness::shop::{span_id, spans};

use super::chain::TAG;
use super::show::Show;
use super::table::{Table, figure};
use super::traffic::{Sent, Traffic};

/// One stage's figures.
#[derive(Clone, Debug)]
pub(crate) struct Stage {
    pub(crate) name: String,
    pub(crate) input: u64,
    pub(crate) output: u64,
    dropped: BTreeMap<String, u64>,
    pub(crate) held: u64,
}

impl Stage {
    pub(crate) fn read(metrics: &Metrics, name: &str) -> Self {
        let labels = [("stage", name)];
        let dropped = metrics
            .select("spandrel_stage_dropped_items_total", &labels)
            .filter_map(|sample| {
                let reason = sample.labels.get("reason")?.clone();
                let labels = [("stage", name), ("reason", reason.as_str())];
                let items = metrics.sum("spandrel_stage_dropped_items_total", &labels);
                (items > 0).then_some((reason.clone(), items))
            })
            .collect();
        Self {
            name: name.to_owned(),
            input: metrics.sum("spandrel_stage_in_items_total", &labels),
            output: metrics.sum("spandrel_stage_out_items_total", &labels),
            dropped,
            held: metrics.sum("spandrel_stage_held_items", &labels),
        }
    }

    pub(crate) fn dropped(&self) -> u64 {
        self.dropped.values().sum()
    }

    fn balances(&self) -> bool {
        self.input == self.output + self.held + self.dropped()
    }

    fn dropped_for(&self, reason: &str) -> u64 {
        self.dropped.get(reason).copied().unwrap_or_default()
    }
}

/// The results of the demo.
#[derive(Debug)]
pub(crate) struct Report {
    /// The spans sent and the spans at the backend, by service.
    services: BTreeMap<String, (u64, u64)>,
    stages: Vec<Stage>,
    ledger: Ledger,
    exit_code: i32,
    /// The conditions that must hold, and true for each that does.
    checks: Vec<(&'static str, bool)>,
}

impl Report {
    /// Takes the figures in the middle of the run: the minute is over, and nothing is inside.
    pub(crate) fn new(sent: &Sent, backend: &Backend, stages: &[Stage]) -> Self {
        let taken = backend.taken();
        let services = sent
            .by_service
            .iter()
            .map(|(name, sent)| {
                let out = taken.services.get(name).copied().unwrap_or_default();
                (name.clone(), (*sent, out))
            })
            .collect();
        let total = |reason: &str| stages.iter().map(|stage| stage.dropped_for(reason)).sum();
        let (probes, repeated): (u64, u64) = (total("health_check"), total("duplicate"));
        let chained = stages.windows(2).all(|pair| match pair {
            [left, right] => left.output == right.input,
            _ => false,
        });
        let checks = vec![
            (
                "each stage: in = out + dropped + held",
                stages.iter().all(Stage::balances),
            ),
            ("what leaves a stage enters the next", chained),
            (
                "every health check was dropped, and nothing else as one",
                probes == sent.probes,
            ),
            (
                "every repeated span was dropped, once",
                repeated == sent.repeated,
            ),
        ];
        Self {
            services,
            stages: stages.to_vec(),
            ledger: Ledger::default(),
            exit_code: -1,
            checks,
        }
    }

    /// Compares the ledger with what was sent and what the backend has.
    pub(crate) fn finish(&mut self, sent: &Sent, backend: &Backend, ledger: Ledger, code: i32) {
        self.ledger = ledger;
        self.exit_code = code;
        let taken = backend.taken();
        let tagged = spans(&taken.traces).all(|(resource, span)| {
            let on_resource = resource.is_some_and(|found| find(&found.attributes, TAG).is_some());
            on_resource && find(&span.attributes, TAG).is_some()
        });
        let known = taken.spans.keys().all(|id| sent.ids.contains(id));
        self.checks.extend([
            (
                "every export was answered with OK",
                sent.delivered == sent.spans,
            ),
            (
                "the ledger balances, nothing is left inside",
                ledger.check().is_ok(),
            ),
            ("received is what was sent", ledger.received == sent.spans),
            (
                "exported is what the backend has",
                ledger.exported == taken.totals.spans,
            ),
            (
                "nothing was refused or abandoned",
                ledger.refused + ledger.abandoned == 0,
            ),
            (
                "the backend has no span twice, and none that was not sent",
                { taken.duplicates() == 0 && known },
            ),
            ("every span at the backend is tagged", tagged),
            ("the collector ended with exit code 0", code == 0),
        ]);
    }

    /// Adds more conditions that must hold.
    pub(crate) fn check(&mut self, checks: Vec<(&'static str, bool)>) {
        self.checks.extend(checks);
    }

    pub(crate) fn agrees(&self) -> bool {
        self.checks.iter().all(|(_, holds)| *holds)
    }

    pub(crate) fn show_middle(&self, show: &Show) {
        show.title("The minute, by service (spans)");
        let mut table = Table::new(&["service", "sent", "at the backend"]);
        for (name, (sent, out)) in &self.services {
            table.row([name.clone(), figure(*sent), figure(*out)]);
        }
        let sum = |pick: fn(&(u64, u64)) -> u64| figure(self.services.values().map(pick).sum());
        table.row(["all".to_owned(), sum(|row| row.0), sum(|row| row.1)]);
        show.table(&table);

        show.title("The minute, by stage (spans)");
        let mut table = Table::new(&["stage", "in", "out", "dropped", "held", "why"]);
        for stage in &self.stages {
            let reasons: Vec<&str> = stage.dropped.keys().map(String::as_str).collect();
            table.row([
                stage.name.clone(),
                figure(stage.input),
                figure(stage.output),
                figure(stage.dropped()),
                figure(stage.held),
                reasons.join(", "),
            ]);
        }
        show.table(&table);
    }

    /// Shows one span as it was sent and as it arrived. It is one with an error, because those are
    /// kept.
    pub(crate) fn show_span(&self, show: &Show, traffic: &Traffic, backend: &Backend) {
        let exports = traffic.minute.exports.iter();
        let mut sent = exports.flat_map(|export| spans(&export.request.resource_spans));
        let taken = backend.taken();
        let Some((before_resource, before)) = sent.find(|(_, span)| {
            let failed = span.status.as_ref().is_some_and(|status| status.code == 2);
            failed && taken.spans.contains_key(&span_id(span))
        }) else {
            return;
        };
        let Some((after_resource, after)) = taken.find(span_id(before)) else {
            return;
        };
        let service = before_resource
            .and_then(|resource| find(&resource.attributes, "service.name"))
            .unwrap_or_default();
        show.title(&format!(
            "One span, before and after: {} of {service}",
            before.name
        ));
        let before_resource = before_resource.map_or(&[][..], |resource| &resource.attributes);
        compare(
            show,
            "resource",
            before_resource,
            &after_resource.attributes,
        );
        compare(show, "span", &before.attributes, &after.attributes);
    }

    pub(crate) fn show_end(&self, show: &Show) {
        show.title("The ledger (spans)");
        let mut table = Table::new(&[
            "received",
            "refused",
            "exported",
            "dropped",
            "abandoned",
            "held",
            "queued",
        ]);
        let ledger = &self.ledger;
        table.row(
            [
                ledger.received,
                ledger.refused,
                ledger.exported,
                ledger.dropped,
                ledger.abandoned,
                ledger.held,
                ledger.queued,
            ]
            .map(figure),
        );
        show.table(&table);
        show.title("The verdict");
        for (what, holds) in &self.checks {
            let mark = if *holds {
                show.paint.green("ok")
            } else {
                show.paint.red("NO")
            };
            show.line(&format!("  {mark}  {what}"));
        }
        let verdict = if self.agrees() {
            show.paint.green("balanced")
        } else {
            show.paint.red("NOT balanced")
        };
        show.line("");
        show.step(&verdict);
    }

    pub(crate) fn json(&self) -> Value {
        let services: BTreeMap<_, _> = self
            .services
            .iter()
            .map(|(name, (sent, out))| (name, json!({ "sent": sent, "out": out })))
            .collect();
        let stages: Vec<_> = self
            .stages
            .iter()
            .map(|stage| {
                json!({
                    "stage": stage.name,
                    "in": stage.input,
                    "out": stage.output,
                    "dropped": stage.dropped,
                    "held": stage.held,
                })
            })
            .collect();
        let ledger = &self.ledger;
        json!({
            "services": services,
            "stages": stages,
            "ledger": {
                "received": ledger.received,
                "created": ledger.created,
                "refused": ledger.refused,
                "exported": ledger.exported,
                "dropped": ledger.dropped,
                "abandoned": ledger.abandoned,
                "held": ledger.held,
                "queued": ledger.queued,
            },
            "exit_code": self.exit_code,
            "checks": self.checks.iter().copied().collect::<BTreeMap<_, _>>(),
            "balanced": self.agrees(),
        })
    }
}

/// Shows the attributes that came with it, and those that a plugin added or changed.
fn compare(show: &Show, of: &str, before: &[KeyValue], after: &[KeyValue]) {
    const SHOWN: usize = 5;
    for attribute in before.iter().take(SHOWN) {
        let (key, value) = (&attribute.key, shown(attribute));
        show.line(&format!("    {of:<8}  {key:<28} {value}"));
    }
    let more = before.len().saturating_sub(SHOWN);
    if more > 0 {
        let text = format!("    {of:<8}  and {more} more as they came");
        show.line(&show.paint.dim(&text));
    }
    for attribute in after.iter().filter(|attribute| !before.contains(attribute)) {
        let (key, value) = (&attribute.key, shown(attribute));
        let text = format!("  + {of:<8}  {key:<28} {value}");
        show.line(&show.paint.green(&text));
    }
}
