//! The remarks about a run, and the verdict whether it is good.

use super::{Measured, Report, SEVERAL};

/// The share of the rate below which the report says that the rate was not reached.
const REACHED: f64 = 0.95;

impl Report {
    pub(super) fn judge(&mut self, measured: &Measured, may_drop: bool) {
        let ends = [self.generator.times_less, self.backend.times_less];
        if let [Some(generator), Some(backend)] = ends {
            self.verdict.bed_is_cheap = Some(generator >= SEVERAL && backend >= SEVERAL);
        }
        let failures = self.failures(measured, may_drop);
        self.verdict.ok = failures.is_empty();
        self.verdict.remarks = failures;
        let remarks = self.remarks(measured);
        self.verdict.remarks.extend(remarks);
    }

    /// Returns the reasons why the run is not good.
    fn failures(&self, measured: &Measured, may_drop: bool) -> Vec<String> {
        let mut failures = Vec::new();
        let items = &self.items;
        let output = measured.stopped.as_ref().map(|stopped| &*stopped.output);
        let output = output.unwrap_or_default();
        let is_clean = measured
            .stopped
            .as_ref()
            .is_none_or(|stopped| stopped.is_clean);
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
        if let Some(faults) = self.collector.faults.filter(|faults| *faults > 0) {
            failures.push(format!(
                "plugins failed {faults} times: their batches passed as they came or were dropped, and the figures are not those of their work. The collector's log says why"
            ));
        }
        if !is_clean {
            let status = self.collector.exit.as_deref().unwrap_or_default();
            failures.push(format!(
                "the collector ended badly ({status}); its last lines:\n{output}"
            ));
        }
        if items.accepted > 0 && self.cost.is_none() && measured.samples.collector.is_some() {
            failures.push(
                "the process that was looked at did nothing: name the collector's own with --pid"
                    .to_owned(),
            );
        }
        failures
    }

    /// Returns what a reader must know before believing the figures.
    fn remarks(&self, measured: &Measured) -> Vec<String> {
        let mut remarks = Vec::new();
        let refused: u64 = self.items.refused.values().sum();
        if refused > 0 && self.items.accepted > 0 {
            remarks.push(format!("{refused} items were refused: the rates are of those that were accepted, the cost is of all"));
        }
        if self.load.export_compression != "none" {
            let encoding = self.load.export_compression;
            remarks.push(format!(
                "the collector compressed what it exported ({encoding}), which costs it a lot"
            ));
        }
        if let Some(rate) = self.load.rate {
            let seconds = measured.sent.elapsed.as_secs_f64();
            #[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
            let (sent, rate) = (self.items.sent as f64, rate as f64);
            if sent < rate * seconds * REACHED {
                remarks.push(format!(
                    "the rate was not reached: {:.0} items a second were sent, as answers came too late for more. Take more --connections or --in-flight",
                    sent / seconds
                ));
            }
        }
        remarks
    }
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
    use crate::load::{Plan, Record, Sent};
    use crate::settings::{Load, Settings, Subject, Windows};
    use crate::template::{PREFIX, Stamp};
    use crate::trial::Samples;

    const ANY: [u8; 4] = [127, 0, 0, 1];

    fn settings() -> Settings {
        let any = SocketAddr::from((ANY, 0));
        Settings {
            subject: Subject::Unknown,
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
    async fn measured(settings: &Settings, late: u64) -> Measured {
        let plan = Plan::new(&settings.load, 5, settings.timeout).expect("it can be made");
        let template = &plan.templates[0];
        let mut copy = template.copy();
        let stamp = Stamp {
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
        let mut sent = Sent {
            elapsed: Duration::from_secs(10),
            ..Sent::default()
        };
        sent.answers.accepted.push(Record {
            request: 0,
            template: 0,
        });
        sent.answers.sent_tally = template.tally;
        sent.answers.accepted_tally = template.tally;
        Measured {
            plan: Arc::new(plan),
            sent,
            samples,
            count,
            idle: None,
            peak: None,
            ready_after: None,
            faults: None,
            stopped: None,
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
