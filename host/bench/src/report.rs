//! What a run has shown.

mod drawn_up;
mod judge;
mod loss;
mod text;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use crate::backend::Count;
use crate::load::{Plan, Sent};
use crate::process::{Memory, Stopped};
use crate::trial::Samples;

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
    /// Calls of plugins that failed meanwhile, where the collector says it.
    pub(crate) faults: Option<u64>,
    pub(crate) stopped: Option<Stopped>,
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
    /// Bytes of messages as they arrived, inflated, by items; none when nothing arrived.
    pub backend_bytes_per_item: Option<f64>,
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
    /// The same, not compressed, when health checks are dropped and nothing else is done.
    pub bytes_per_item_without_health_checks: f64,
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
    /// Calls of plugins that failed meanwhile; none when its process is not known or serves no metrics
    /// of this kind.
    pub faults: Option<u64>,
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
    /// Arrived after the last look at the clocks: what they cost is not known.
    pub late: u64,
    /// Sent again on purpose.
    pub duplicates_sent: u64,
    /// Arrived more than once.
    pub duplicates_delivered: u64,
    /// Further arrivals less those that were sent again on purpose.
    pub duplicated: u64,
    /// Health checks among what was sent.
    pub health_checks_sent: u64,
    /// Health checks among what was accepted.
    pub health_checks_accepted: u64,
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
    /// Something was accepted, all of it arrived in time, no plugin failed, and the collector ended well.
    pub ok: bool,
    /// Generator and backend cost several times less than the collector; not known without its
    /// process.
    pub bed_is_cheap: Option<bool>,
    /// In words: what a reader must know before the figures are believed.
    pub remarks: Vec<String>,
}
