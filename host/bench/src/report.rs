//! What a run has shown.

mod loss;
mod text;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use crate::backend::Count;
use crate::load::{Plan, Sent};
use crate::process::{Memory, Stopped};
use crate::settings::{Compression, Settings, Subject};
use crate::trial::Samples;
use loss::Loss;

/// Both ends of the bed cost several times less than the collector when this holds.
const SEVERAL: f64 = 3.0;

/// What one trial has left to be judged.
#[derive(Debug)]
pub(crate) struct Measured {
    pub(crate) plan: Arc<Plan>,
    pub(crate) sent: Sent,
    pub(crate) samples: Samples,
    pub(crate) count: Count,
    pub(crate) idle: Option<Memory>,
    pub(crate) peak: Option<Memory>,
    pub(crate) ready_after: Option<Duration>,
    pub(crate) stopped: Option<Stopped>,
    pub(crate) output: String,
}

/// The result of a run; its names in JSON do not change.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// What was sent, and how.
    pub load: LoadReport,
    /// The process under test.
    pub collector: CollectorReport,
    /// What became of the items.
    pub items: Items,
    /// From the first request to the arrival of the last item, in seconds.
    pub elapsed_s: f64,
    /// Accepted items by elapsed time.
    pub items_per_second: f64,
    /// What the collector took; none when its process is not known.
    pub cost: Option<Cost>,
    /// From sending (by the rate, when there is one) to arrival at the backend.
    pub latency_ms: Latency,
    /// What the generator took.
    pub generator: End,
    /// What the backend took.
    pub backend: End,
    /// The raw proxy under the same load.
    pub yardstick: Option<Yardstick>,
    /// What is to be said about the run.
    pub verdict: Verdict,
}

/// What was sent, and how.
#[derive(Clone, Debug, Serialize)]
pub struct LoadReport {
    /// `traces`, `metrics` or `logs`.
    pub signal: &'static str,
    /// Items of a request.
    pub batch: usize,
    /// Connections of HTTP/2.
    pub connections: usize,
    /// Requests under way in each.
    pub in_flight: usize,
    /// Items per second that were asked for.
    pub rate: Option<u64>,
    /// How requests were compressed.
    pub compression: &'static str,
    /// Bytes of messages as sent, by items.
    pub bytes_per_item: f64,
    /// Different values of `service.name`.
    pub services: usize,
    /// Attributes of an item.
    pub attributes: usize,
    /// The share of health checks.
    pub health_checks: f64,
    /// The share of duplicates.
    pub duplicates: f64,
    /// Bytes that the backend takes in one stream before it is read.
    pub backend_window: u32,
    /// The largest frame that the backend takes.
    pub backend_frame: u32,
    /// How the collector compressed what it exported.
    pub export_compression: &'static str,
}

/// The process under test.
#[derive(Clone, Debug, Serialize)]
pub struct CollectorReport {
    /// Its command line, when it was started here.
    pub command: Option<String>,
    /// The running process that was named.
    pub pid: Option<u32>,
    /// From its start to its first answer, in milliseconds.
    pub ready_ms: Option<f64>,
    /// Resident memory before the load.
    pub idle_bytes: Option<u64>,
    /// The largest resident memory under the load.
    pub peak_bytes: Option<u64>,
    /// How it ended after SIGTERM.
    pub exit: Option<String>,
    /// Its exit code.
    pub exit_code: Option<i32>,
    /// From SIGTERM to its end, in milliseconds.
    pub stop_ms: Option<f64>,
}

/// What became of the items that were sent.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Items {
    /// Sent, all in all.
    pub sent: u64,
    /// Answered with OK.
    pub accepted: u64,
    /// Taken back in an OK.
    pub rejected: u64,
    /// Refused, by the name of the status.
    pub refused: BTreeMap<String, u64>,
    /// Never answered: the connection broke, or time was up.
    pub unanswered: u64,
    /// That must arrive, and did.
    pub delivered: u64,
    /// Accepted and must arrive, and did not.
    pub lost: u64,
    /// Sent again on purpose.
    pub duplicates_sent: u64,
    /// Arrived more than once.
    pub duplicates_delivered: u64,
    /// Arrived more than once although sent once.
    pub duplicated: u64,
    /// Health checks among what was sent.
    pub health_checks_sent: u64,
    /// Health checks that arrived.
    pub health_checks_delivered: u64,
    /// Arrived although no OK was said for them.
    pub delivered_unaccepted: u64,
    /// Arrived and are not of this run.
    pub foreign: u64,
    /// Messages at the backend that were no OTLP.
    pub malformed_messages: u64,
    /// Times that a connection had to be opened again.
    pub reconnects: u64,
}

/// What the collector took of the CPU.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Cost {
    /// The main figure.
    pub items_per_cpu_second: f64,
    /// The same the other way round.
    pub us_per_item: f64,
    /// CPU time, in seconds.
    pub cpu_s: f64,
    /// Of it by the process itself, as a share.
    pub user_share: f64,
    /// Of it by the kernel, as a share.
    pub system_share: f64,
    /// Cores that it kept busy.
    pub cores: f64,
}

/// Percentiles in milliseconds.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Latency {
    /// Half of the items were not slower.
    pub p50: f64,
    /// 90 % were not.
    pub p90: f64,
    /// 99 % were not.
    pub p99: f64,
    /// 99.9 % were not.
    pub p999: f64,
    /// The slowest.
    pub max: f64,
}

/// One end of the bed.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct End {
    /// CPU time for each accepted item.
    pub us_per_item: f64,
    /// How many times less than the collector it took.
    pub times_less: Option<f64>,
}

/// The raw proxy under the same load.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Yardstick {
    /// As of the collector.
    pub items_per_cpu_second: f64,
    /// As of the collector.
    pub us_per_item: f64,
    /// As of the collector.
    pub items_per_second: f64,
    /// As of the collector.
    pub peak_bytes: Option<u64>,
    /// As of the collector.
    pub latency_ms: Latency,
    /// The collector's items per CPU-second by the proxy's.
    pub ratio: Option<f64>,
}

/// What is to be said about the run.
#[derive(Clone, Debug, Serialize)]
pub struct Verdict {
    /// Nothing accepted was lost, and something was accepted.
    pub ok: bool,
    /// Generator and backend cost several times less than the collector; not known without its
    /// process.
    pub bed_is_cheap: Option<bool>,
    /// In words: what a reader must know before the figures are believed.
    pub remarks: Vec<String>,
}

impl Report {
    pub(crate) fn new(settings: &Settings, measured: &Measured) -> Self {
        let answers = &measured.sent.answers;
        let accepted = answers.accepted_tally.items();
        let cost = measured.samples.collector.map(|spent| {
            let total = spent.total.as_secs_f64();
            let both = (spent.user + spent.system).as_secs_f64();
            Cost {
                items_per_cpu_second: ratio(float(accepted), total),
                us_per_item: ratio(total * 1e6, float(accepted)),
                cpu_s: total,
                user_share: ratio(spent.user.as_secs_f64(), both),
                system_share: ratio(spent.system.as_secs_f64(), both),
                cores: ratio(total, measured.samples.elapsed.as_secs_f64()),
            }
        });
        let end = |cpu: Duration| {
            let us_per_item = ratio(cpu.as_secs_f64() * 1e6, float(accepted));
            let times_less = cost.map(|cost| ratio(cost.us_per_item, us_per_item));
            End {
                us_per_item,
                times_less,
            }
        };
        let elapsed_s = measured.samples.elapsed.as_secs_f64();
        let mut report = Self {
            load: load_report(settings, measured),
            collector: collector_report(settings, measured),
            items: items(measured),
            elapsed_s,
            items_per_second: ratio(float(accepted), elapsed_s),
            cost,
            latency_ms: latency(measured),
            generator: end(measured.sent.cpu),
            backend: end(measured.samples.backend),
            yardstick: None,
            verdict: Verdict {
                ok: true,
                bed_is_cheap: None,
                remarks: Vec::new(),
            },
        };
        report.judge(&measured.output);
        report
    }

    /// Sets the proxy's figures beside the collector's.
    pub(crate) fn compare(&mut self, proxy: &Self) {
        let Some(cost) = proxy.cost else {
            return;
        };
        self.yardstick = Some(Yardstick {
            items_per_cpu_second: cost.items_per_cpu_second,
            us_per_item: cost.us_per_item,
            items_per_second: proxy.items_per_second,
            peak_bytes: proxy.collector.peak_bytes,
            latency_ms: proxy.latency_ms,
            ratio: self
                .cost
                .map(|own| ratio(own.items_per_cpu_second, cost.items_per_cpu_second)),
        });
        if !proxy.verdict.ok {
            self.verdict
                .remarks
                .push("the yardstick lost items: its figures mean little".to_owned());
        }
    }

    fn judge(&mut self, output: &str) {
        let remarks = &mut self.verdict.remarks;
        let ends = [self.generator.times_less, self.backend.times_less];
        if let [Some(generator), Some(backend)] = ends {
            self.verdict.bed_is_cheap = Some(generator >= SEVERAL && backend >= SEVERAL);
        }
        if self.items.accepted == 0 {
            self.verdict.ok = false;
            remarks.push(format!(
                "nothing was accepted; the collector's last lines:\n{output}"
            ));
        }
        if self.items.lost > 0 {
            self.verdict.ok = false;
            let lost = self.items.lost;
            remarks.push(format!(
                "{lost} items were accepted and did not arrive: does the collector export to the bench's backend, and drop nothing but health checks?"
            ));
        }
        if self.items.malformed_messages > 0 {
            self.verdict.ok = false;
            remarks.push("the collector exported what is no OTLP".to_owned());
        }
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
    }
}

fn load_report(settings: &Settings, measured: &Measured) -> LoadReport {
    let load = &settings.load;
    let answers = &measured.sent.answers;
    LoadReport {
        signal: signal_name(load.signal),
        batch: load.batch,
        connections: load.connections,
        in_flight: load.in_flight,
        rate: load.rate,
        compression: match load.compression {
            Compression::None => "none",
            Compression::Gzip => "gzip",
        },
        bytes_per_item: ratio(
            float(answers.message_bytes),
            float(answers.sent_tally.items()),
        ),
        services: load.services,
        attributes: load.attributes,
        health_checks: load.health_checks,
        duplicates: load.duplicates,
        backend_window: settings.windows.stream,
        backend_frame: settings.windows.frame,
        export_compression: measured.count.encoding.unwrap_or("none"),
    }
}

fn signal_name(signal: spandrel_wire::Signal) -> &'static str {
    match signal {
        spandrel_wire::Signal::Traces => "traces",
        spandrel_wire::Signal::Metrics => "metrics",
        spandrel_wire::Signal::Logs => "logs",
    }
}

fn collector_report(settings: &Settings, measured: &Measured) -> CollectorReport {
    let stopped = measured.stopped.as_ref();
    CollectorReport {
        command: match &settings.subject {
            Subject::Started(line) => Some(line.to_string()),
            Subject::Running(_) | Subject::Unknown => None,
        },
        pid: match settings.subject {
            Subject::Running(pid) => Some(pid),
            Subject::Started(_) | Subject::Unknown => None,
        },
        ready_ms: measured.ready_after.map(millis),
        idle_bytes: measured.idle.map(|memory| memory.now),
        peak_bytes: measured.peak.map(|memory| memory.peak),
        exit: stopped.map(|stopped| stopped.status.clone()),
        exit_code: stopped.and_then(|stopped| stopped.code),
        stop_ms: stopped.map(|stopped| millis(stopped.took)),
    }
}

fn items(measured: &Measured) -> Items {
    let Measured {
        plan, sent, count, ..
    } = measured;
    let answers = &sent.answers;
    let loss = Loss::find(plan, &answers.accepted, &count.seen);
    let duplicates_sent = answers.sent_tally.duplicates;
    Items {
        sent: answers.sent_tally.items(),
        accepted: answers.accepted_tally.items(),
        rejected: answers.rejected,
        refused: answers
            .refused
            .iter()
            .map(|(code, items)| (status_name(*code), *items))
            .collect(),
        unanswered: answers.unanswered,
        delivered: loss.delivered,
        lost: loss.lost,
        duplicates_sent,
        duplicates_delivered: count.measured_duplicates,
        duplicated: count.measured_duplicates.saturating_sub(duplicates_sent),
        health_checks_sent: answers.sent_tally.health_checks,
        health_checks_delivered: count.measured_health_checks,
        delivered_unaccepted: count.measured_plain.saturating_sub(loss.delivered),
        foreign: count.foreign,
        malformed_messages: count.malformed,
        reconnects: answers.reconnects,
    }
}

fn latency(measured: &Measured) -> Latency {
    let of = |share| millis(measured.count.latency.percentile(share));
    Latency {
        p50: of(0.5),
        p90: of(0.9),
        p99: of(0.99),
        p999: of(0.999),
        max: millis(measured.count.latency.max()),
    }
}

/// The name of a status of gRPC, as specifications write it.
fn status_name(code: u8) -> String {
    const NAMES: [&str; 17] = [
        "OK",
        "CANCELLED",
        "UNKNOWN",
        "INVALID_ARGUMENT",
        "DEADLINE_EXCEEDED",
        "NOT_FOUND",
        "ALREADY_EXISTS",
        "PERMISSION_DENIED",
        "RESOURCE_EXHAUSTED",
        "FAILED_PRECONDITION",
        "ABORTED",
        "OUT_OF_RANGE",
        "UNIMPLEMENTED",
        "INTERNAL",
        "UNAVAILABLE",
        "DATA_LOSS",
        "UNAUTHENTICATED",
    ];
    let name = NAMES.get(usize::from(code));
    name.map_or_else(|| format!("status {code}"), |name| (*name).to_owned())
}

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
fn float(count: u64) -> f64 {
    count as f64
}

/// Nothing of nothing is nothing.
fn ratio(of: f64, by: f64) -> f64 {
    if by > 0.0 { of / by } else { 0.0 }
}
