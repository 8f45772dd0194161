//! Makes the report from the measurements.

use std::time::Duration;

use spandrel_wire::GRPC_CODES;

use super::loss::Loss;
use super::{
    BedEnd, CollectorReport, Cost, Items, Latency, LoadReport, Report, Verdict, Yardstick,
};
use crate::measurements::Measurements;
use crate::settings::{CollectorUnderTest, Compression, Settings};

pub(super) fn report(settings: &Settings, measured: &Measurements) -> Report {
    let answers = &measured.load.answers;
    let accepted = answers.accepted_tally.items();
    let cost = cost(measured, accepted);
    let end = |cpu: Duration| {
        let us_per_item = ratio(cpu.as_secs_f64() * 1e6, float(accepted));
        let times_less = cost.map(|cost| ratio(cost.us_per_item, us_per_item));
        BedEnd {
            us_per_item,
            times_less,
        }
    };
    let elapsed_s = measured.samples.elapsed.as_secs_f64();
    Report {
        load: load_report(settings, measured),
        collector: collector_report(settings, measured),
        items: items(measured),
        elapsed_s,
        items_per_second: ratio(float(accepted), elapsed_s),
        cost,
        latency_ms: latency(measured),
        generator: end(measured.load.cpu),
        backend: end(measured.samples.backend),
        backend_bytes_per_item: (measured.count.arrived > 0).then(|| {
            let bytes = float(measured.count.message_bytes);
            ratio(bytes, float(measured.count.arrived))
        }),
        yardstick: None,
        verdict: Verdict {
            ok: true,
            bed_is_cheap: None,
            remarks: Vec::new(),
        },
    }
}

/// Sets the proxy's figures beside the collector's.
pub(super) fn compare(report: &mut Report, proxy: &Report) {
    let Some(cost) = proxy.cost else {
        return;
    };
    report.yardstick = Some(Yardstick {
        items_per_cpu_second: cost.items_per_cpu_second,
        us_per_item: cost.us_per_item,
        items_per_second: proxy.items_per_second,
        peak_bytes: proxy.collector.peak_bytes,
        latency_ms: proxy.latency_ms,
        ratio: report
            .cost
            .map(|own| ratio(own.items_per_cpu_second, cost.items_per_cpu_second)),
    });
    if !proxy.verdict.ok {
        report.verdict.remarks.push(format!(
            "the yardstick's own run was not good, its figures mean little: {}",
            proxy.verdict.remarks.join("; ")
        ));
    }
}

/// The share of the backend's CPU time below which a process is not the one that the items went
/// through: a forwarder does what the backend does, and more.
const IDLE_SHARE: f64 = 0.1;

/// Returns the collector's cost; `None` if it is not known, or if the process did nothing.
fn cost(measured: &Measurements, accepted: u64) -> Option<Cost> {
    let spent = measured.samples.collector?;
    let total = spent.total.as_secs_f64();
    if total < measured.samples.backend.as_secs_f64() * IDLE_SHARE {
        return None;
    }
    let both = (spent.user + spent.system).as_secs_f64();
    Some(Cost {
        items_per_cpu_second: ratio(float(accepted), total),
        us_per_item: ratio(total * 1e6, float(accepted)),
        cpu_s: total,
        user_share: ratio(spent.user.as_secs_f64(), both),
        system_share: ratio(spent.system.as_secs_f64(), both),
        cores: ratio(total, measured.samples.elapsed.as_secs_f64()),
    })
}

fn load_report(settings: &Settings, measured: &Measurements) -> LoadReport {
    let load = &settings.load;
    let answers = &measured.load.answers;
    let (kept_bytes, kept) = measured.plan.without_health_checks();
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
        bytes_per_item_without_health_checks: ratio(float(kept_bytes), float(kept)),
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

fn collector_report(settings: &Settings, measured: &Measurements) -> CollectorReport {
    let exit = measured.exit.as_ref();
    CollectorReport {
        command: match &settings.subject {
            CollectorUnderTest::Started(line) => Some(line.to_string()),
            CollectorUnderTest::Running(_) | CollectorUnderTest::Unknown => None,
        },
        pid: match settings.subject {
            CollectorUnderTest::Running(pid) => Some(pid),
            CollectorUnderTest::Started(_) | CollectorUnderTest::Unknown => None,
        },
        ready_ms: measured.ready_after.map(millis),
        idle_bytes: measured.idle.map(|memory| memory.now),
        peak_bytes: measured.peak.map(|memory| memory.peak),
        faults: measured.faults,
        exit: exit.map(|exit| exit.status.clone()),
        exit_code: exit.and_then(|exit| exit.code),
        stop_ms: exit.map(|exit| millis(exit.took)),
    }
}

fn items(measured: &Measurements) -> Items {
    let Measurements {
        plan, load, count, ..
    } = measured;
    let answers = &load.answers;
    let loss = Loss::find(plan, &answers.accepted, &count.items);
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
        late: count.measured_plain.saturating_sub(measured.samples.plain),
        duplicates_sent,
        duplicates_delivered: count.measured_duplicates,
        duplicated: count.measured_duplicates.saturating_sub(duplicates_sent),
        health_checks_sent: answers.sent_tally.health_checks,
        health_checks_accepted: answers.accepted_tally.health_checks,
        health_checks_delivered: count.measured_health_checks,
        delivered_unaccepted: count.measured_plain.saturating_sub(loss.delivered),
        foreign: count.foreign,
        malformed_messages: count.malformed,
        reconnects: answers.reconnects,
    }
}

fn latency(measured: &Measurements) -> Latency {
    let of = |share| millis(measured.count.latency.percentile(share));
    Latency {
        p50: of(0.5),
        p90: of(0.9),
        p99: of(0.99),
        p999: of(0.999),
        max: millis(measured.count.latency.max()),
    }
}

/// Returns the name of a gRPC status, as specifications write it.
fn status_name(code: u8) -> String {
    let name = GRPC_CODES.get(usize::from(code));
    name.map_or_else(|| format!("status {code}"), |name| (*name).to_owned())
}

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
fn float(count: u64) -> f64 {
    count as f64
}

/// Returns the ratio of two figures; zero if there is nothing to divide by.
fn ratio(of: f64, by: f64) -> f64 {
    if by > 0.0 { of / by } else { 0.0 }
}
