//! The report of a run.

mod build;
mod evaluate;
mod loss;
mod text;

use std::collections::BTreeMap;

use serde::Serialize;

use crate::measurements::Measurements;
use crate::settings::Settings;

/// The factor by which both ends of the bed must cost less than the collector to be several times
/// cheaper.
const CHEAP_FACTOR: f64 = 3.0;

/// The result of a run; its names in JSON do not change.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The load that was sent.
    pub load: LoadReport,
    /// The process under test.
    pub collector: CollectorReport,
    /// The counts of items.
    pub items: Items,
    /// The time from the first request to the arrival of the last item, in seconds.
    pub elapsed_s: f64,
    /// Accepted items divided by elapsed time.
    pub items_per_second: f64,
    /// The cost of the collector; `None` if its process is not known.
    pub cost: Option<Cost>,
    /// The time from sending (by the rate, if there is one) to arrival at the backend.
    pub latency_ms: Latency,
    /// The cost of the generator.
    pub generator: BedEnd,
    /// The cost of the backend.
    pub backend: BedEnd,
    /// Bytes of messages as they arrived, inflated, divided by items; `None` if nothing arrived.
    pub backend_bytes_per_item: Option<f64>,
    /// The figures of the raw proxy under the same load.
    pub yardstick: Option<Yardstick>,
    /// The verdict about the run.
    pub verdict: Verdict,
}

impl Report {
    /// Makes the report from the measurements.
    pub(crate) fn new(settings: &Settings, measurements: &Measurements) -> Self {
        let mut report = build::report(settings, measurements);
        evaluate::evaluate(&mut report, measurements, settings.may_drop);
        report
    }

    /// Sets the proxy's figures beside the collector's.
    pub(crate) fn compare(&mut self, proxy: &Self) {
        build::compare(self, proxy);
    }

    /// Returns the report as one object of JSON, in one line.
    pub fn json(&self) -> String {
        // Maps have keys of text, and nothing else could fail.
        serde_json::to_string(self).unwrap_or_default()
    }

    /// Returns the report as lines for people, with colour if that is wanted.
    pub fn text(&self, colour: bool) -> String {
        text::write(self, colour)
    }
}

/// The load that was sent.
#[derive(Clone, Debug, Serialize)]
pub struct LoadReport {
    /// `traces`, `metrics` or `logs`.
    pub signal: &'static str,
    /// The number of items in a request.
    pub batch: usize,
    /// The number of connections of HTTP/2.
    pub connections: usize,
    /// The number of requests under way in each connection.
    pub in_flight: usize,
    /// The number of items per second that were asked for.
    pub rate: Option<u64>,
    /// The compression of requests.
    pub compression: &'static str,
    /// Bytes of messages as sent, divided by items.
    pub bytes_per_item: f64,
    /// The same figure, not compressed, if health checks are dropped and nothing else is done.
    pub bytes_per_item_without_health_checks: f64,
    /// The number of different values of `service.name`.
    pub services: usize,
    /// The number of attributes of an item.
    pub attributes: usize,
    /// The share of health checks.
    pub health_checks: f64,
    /// The share of duplicates.
    pub duplicates: f64,
    /// The number of bytes that the backend takes in one stream before it is read.
    pub backend_window: u32,
    /// The largest frame that the backend takes.
    pub backend_frame: u32,
    /// The compression of what the collector exported.
    pub export_compression: &'static str,
}

/// The process under test.
#[derive(Clone, Debug, Serialize)]
pub struct CollectorReport {
    /// The collector's command line, if the bench started it.
    pub command: Option<String>,
    /// The running process that was named.
    pub pid: Option<u32>,
    /// The time from its start to its first answer, in milliseconds.
    pub ready_ms: Option<f64>,
    /// Resident memory before the load.
    pub idle_bytes: Option<u64>,
    /// The largest resident memory under the load.
    pub peak_bytes: Option<u64>,
    /// The number of plugin calls that failed meanwhile; `None` if the process is not known, or
    /// serves no metrics of this kind.
    pub faults: Option<u64>,
    /// The way it ended after SIGTERM.
    pub exit: Option<String>,
    /// Its exit code.
    pub exit_code: Option<i32>,
    /// The time from SIGTERM to its end, in milliseconds.
    pub stop_ms: Option<f64>,
}

/// The counts of the items that were sent, by their result.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Items {
    /// Items that were sent in all.
    pub sent: u64,
    /// Items that were answered with OK.
    pub accepted: u64,
    /// Items that were taken back in an OK.
    pub rejected: u64,
    /// Items that were refused, by the name of the status.
    pub refused: BTreeMap<String, u64>,
    /// Items that were never answered: the connection broke, or time was up.
    pub unanswered: u64,
    /// Items that must arrive, and did.
    pub delivered: u64,
    /// Items that were accepted and must arrive, and did not.
    pub lost: u64,
    /// Items that arrived after the last look at the clocks: their cost is not known.
    pub late: u64,
    /// Items that were sent again on purpose.
    pub duplicates_sent: u64,
    /// Arrivals of items that had arrived before.
    pub duplicates_delivered: u64,
    /// Further arrivals, less the items that were sent again on purpose.
    pub duplicated: u64,
    /// Health checks among the items that were sent.
    pub health_checks_sent: u64,
    /// Health checks among the items that were accepted.
    pub health_checks_accepted: u64,
    /// Health checks that arrived.
    pub health_checks_delivered: u64,
    /// Items that arrived although no OK was said for them.
    pub delivered_unaccepted: u64,
    /// Items that arrived and belong to another run.
    pub foreign: u64,
    /// Messages at the backend that were not OTLP.
    pub malformed_messages: u64,
    /// The number of times that a connection had to be opened again.
    pub reconnects: u64,
}

/// The CPU time that the collector took.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Cost {
    /// Accepted items per second of CPU time: the main figure.
    pub items_per_cpu_second: f64,
    /// The inverse of the main figure, in microseconds.
    pub us_per_item: f64,
    /// The CPU time, in seconds.
    pub cpu_s: f64,
    /// The share of CPU time in the process itself.
    pub user_share: f64,
    /// The share of CPU time in the kernel.
    pub system_share: f64,
    /// The number of cores that it kept busy.
    pub cores: f64,
}

/// Percentiles of the latency, in milliseconds.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Latency {
    /// The latency that 50 % of the items did not exceed.
    pub p50: f64,
    /// The latency that 90 % of the items did not exceed.
    pub p90: f64,
    /// The latency that 99 % of the items did not exceed.
    pub p99: f64,
    /// The latency that 99.9 % of the items did not exceed.
    pub p999: f64,
    /// The longest latency.
    pub max: f64,
}

/// One end of the bed.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct BedEnd {
    /// The CPU time for each accepted item.
    pub us_per_item: f64,
    /// The factor by which its cost is below the collector's.
    pub times_less: Option<f64>,
}

/// The figures of the raw proxy under the same load.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Yardstick {
    /// The same figure as the collector's.
    pub items_per_cpu_second: f64,
    /// The same figure as the collector's.
    pub us_per_item: f64,
    /// The same figure as the collector's.
    pub items_per_second: f64,
    /// The same figure as the collector's.
    pub peak_bytes: Option<u64>,
    /// The same figure as the collector's.
    pub latency_ms: Latency,
    /// The collector's items per CPU-second divided by the proxy's.
    pub ratio: Option<f64>,
}

/// The verdict about a run.
#[derive(Clone, Debug, Serialize)]
pub struct Verdict {
    /// True if something was accepted, all of it arrived in time, no plugin failed, and the
    /// collector ended well.
    pub ok: bool,
    /// True if generator and backend cost several times less than the collector; not known without
    /// the collector's process.
    pub bed_is_cheap: Option<bool>,
    /// Remarks in words: what a reader must know before believing the figures.
    pub remarks: Vec<String>,
}
