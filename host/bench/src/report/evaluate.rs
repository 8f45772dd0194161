//! The remarks about a run, and the verdict whether it is good.

use super::{CHEAP_FACTOR, Report};
use crate::measurements::Measurements;

/// The share of the rate below which the report says that the rate was not reached.
const RATE_REACHED: f64 = 0.95;

/// Sets the verdict of a report.
pub(super) fn evaluate(report: &mut Report, measured: &Measurements, may_drop: bool) {
    let ends = [report.generator.times_less, report.backend.times_less];
    if let [Some(generator), Some(backend)] = ends {
        report.verdict.bed_is_cheap = Some(generator >= CHEAP_FACTOR && backend >= CHEAP_FACTOR);
    }
    let failures = failures(report, measured, may_drop);
    report.verdict.ok = failures.is_empty();
    report.verdict.remarks = failures;
    let remarks = remarks(report, measured);
    report.verdict.remarks.extend(remarks);
}

/// Returns the reasons why the run is not good.
fn failures(report: &Report, measured: &Measurements, may_drop: bool) -> Vec<String> {
    let mut failures = Vec::new();
    let items = &report.items;
    let exit = measured.exit.as_ref();
    let output = exit.map(|exit| &*exit.output).unwrap_or_default();
    let is_clean = exit.is_none_or(|exit| exit.is_clean);
    if items.accepted == 0 {
        failures.push(format!(
            "nothing was accepted; the collector's last lines:\n{output}"
        ));
    }
    if items.lost > 0 && !may_drop {
        let lost = items.lost;
        failures.push(format!(
            "{lost} items were accepted and did not arrive: does the collector export to the bench's backend, and drop nothing but health checks? If it should, say --may-drop"
        ));
    }
    if items.late > 0 && !may_drop {
        let late = items.late;
        failures.push(format!(
            "{late} items arrived only after the collector's CPU time was read, such as when it was stopped: the cost is without theirs. Let it export sooner, or say --may-drop"
        ));
    }
    if items.malformed_messages > 0 {
        failures.push("the collector exported what is no OTLP".to_owned());
    }
    if let Some(faults) = report.collector.faults.filter(|faults| *faults > 0) {
        failures.push(format!(
            "plugins failed {faults} times: their batches passed as they came or were dropped, and the figures are not those of their work. The collector's log says why"
        ));
    }
    if !is_clean {
        let status = report.collector.exit.as_deref().unwrap_or_default();
        failures.push(format!(
            "the collector ended badly ({status}); its last lines:\n{output}"
        ));
    }
    if items.accepted > 0 && report.cost.is_none() && measured.samples.collector.is_some() {
        failures.push(
            "the process that was looked at did nothing: name the collector's own with --pid"
                .to_owned(),
        );
    }
    failures
}

/// Returns what a reader must know before believing the figures.
fn remarks(report: &Report, measured: &Measurements) -> Vec<String> {
    let mut remarks = Vec::new();
    let refused: u64 = report.items.refused.values().sum();
    if refused > 0 && report.items.accepted > 0 {
        remarks.push(format!("{refused} items were refused: the rates are of those that were accepted, the cost is of all"));
    }
    if report.load.export_compression != "none" {
        let encoding = report.load.export_compression;
        remarks.push(format!(
            "the collector compressed what it exported ({encoding}), which costs it a lot"
        ));
    }
    if let Some(rate) = report.load.rate {
        let seconds = measured.load.elapsed.as_secs_f64();
        #[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
        let (sent, rate) = (report.items.sent as f64, rate as f64);
        if sent < rate * seconds * RATE_REACHED {
            remarks.push(format!(
                "the rate was not reached: {:.0} items a second were sent, as answers came too late for more. Take more --connections or --in-flight",
                sent / seconds
            ));
        }
    }
    remarks
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::sync::Arc;
    use std::time::Duration;

    use bytes::Bytes;
    use spandrel_wire::Signal;

    use super::*;
    use crate::backend::{Backend, Count};
    use crate::load::{AcceptedRequest, LoadPlan, PhaseResult};
    use crate::measurements::Samples;
    use crate::settings::{CollectorUnderTest, Load, Settings, Windows};
    use crate::template::{PREFIX, PatchValues};

    const ANY: [u8; 4] = [127, 0, 0, 1];

    fn settings() -> Settings {
        let any = SocketAddr::from((ANY, 0));
        Settings {
            subject: CollectorUnderTest::Unknown,
            endpoint: any,
            backend: any,
            windows: Windows::default(),
            load: Load {
                rate: Some(1000),
                ..Load::default()
            },
            timeout: Duration::from_secs(1),
            may_drop: false,
            yardstick: None,
        }
    }

    /// Returns the measurements of one request that was accepted and arrived. All its items that
    /// must arrive, except `late` of them, had arrived before the clocks were read.
    async fn measured(settings: &Settings, late: u64) -> Measurements {
        let plan = LoadPlan::new(&settings.load, 5, settings.timeout).expect("it can be made");
        let template = &plan.templates[0];
        let mut copy = template.copy();
        let stamp = PatchValues {
            run: 5,
            is_warm_up: false,
            first: 0,
            time: 1,
        };
        template.patch(&mut copy, &stamp);
        let mut count = Count::new(5, plan.batch());
        let message: Bytes = copy.freeze().slice(PREFIX..);
        count.message(Signal::Traces, &[message]);
        let backend = Backend::start(settings.backend, settings.windows, 5, plan.batch());
        let backend = backend.expect("a port");
        let mut samples = Samples::begin(None, &backend).await.expect("it lives");
        samples.plain = template.tally.plain - late;
        drop(backend.stop());
        let mut load = PhaseResult {
            elapsed: Duration::from_secs(10),
            ..PhaseResult::default()
        };
        load.answers.accepted.push(AcceptedRequest {
            request: 0,
            template: 0,
        });
        load.answers.sent_tally = template.tally;
        load.answers.accepted_tally = template.tally;
        Measurements {
            plan: Arc::new(plan),
            load,
            samples,
            count,
            idle: None,
            peak: None,
            ready_after: None,
            faults: None,
            exit: None,
        }
    }

    /// Items that arrive after the last look at the clocks make a run bad, unless the collector may
    /// drop items.
    #[tokio::test]
    async fn late_items_are_told() {
        let mut settings = settings();
        let in_time = Report::new(&settings, &measured(&settings, 0).await);
        assert!(in_time.verdict.ok, "{:?}", in_time.verdict);
        let late = measured(&settings, 7).await;
        let report = Report::new(&settings, &late);
        assert_eq!((report.items.late, report.items.lost), (7, 0));
        assert!(!report.verdict.ok);
        assert!(report.verdict.remarks[0].contains("7 items"), "{report:?}");
        settings.may_drop = true;
        assert!(Report::new(&settings, &late).verdict.ok);
    }

    /// A run in which a plugin failed is not good, even if nothing was lost; one failure is enough.
    #[tokio::test]
    async fn faults_are_told() {
        let settings = settings();
        let mut measured = measured(&settings, 0).await;
        for (faults, ok) in [(None, true), (Some(0), true), (Some(1), false)] {
            measured.faults = faults;
            let report = Report::new(&settings, &measured);
            assert_eq!(report.verdict.ok, ok, "{faults:?}");
            let remarks = report.verdict.remarks.join("\n");
            assert_eq!(remarks.contains("plugins failed 1 times"), !ok, "{remarks}");
        }
    }

    /// The report gives the bytes that were sent and those that arrived, and says that 51 items a
    /// second are not 1000.
    #[tokio::test]
    async fn bytes_and_rates_are_told() {
        let settings = settings();
        let report = Report::new(&settings, &measured(&settings, 0).await);
        let arrived = report.backend_bytes_per_item.expect("it arrived");
        assert!((620.0..660.0).contains(&arrived), "{arrived}");
        // Health checks are shorter than the rest.
        let kept = report.load.bytes_per_item_without_health_checks;
        assert!(kept > arrived && kept < arrived + 30.0, "{kept} {arrived}");
        let remarks = report.verdict.remarks.join("\n");
        assert!(remarks.contains("51 items a second"), "{remarks}");
    }
}
