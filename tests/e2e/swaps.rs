//! Plugins are swapped again and again under full load, between two builds of each of the stateful
//! examples: nothing is lost, nothing comes twice, and the plugin keeps its knowledge.
//!
//! The short form swaps 20 times; `SPANDREL_SWAPS=1000 cargo test -p spandrel-tests --test e2e
//! swaps`, also with `--release`, is the long one, and checks the figures against their bounds.

mod figures;
mod load;
mod memory;

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use spandrel_tests::admin::{Admin, Report};
use spandrel_tests::artifacts;
use spandrel_tests::backend::Backend;
use spandrel_tests::collector::{Collector, Ended, Setup};
use spandrel_tests::config::Config;
use spandrel_tests::until::say;
use tokio::time::{MissedTickBehavior, interval, sleep};

use figures::Figures;
use load::{Load, Sent, Style};

const STAGE: &str = "wasm/stage";
/// The number of swaps in the short form.
const SWAPS: u64 = 20;
/// The least number of swaps for which the bounds on figures are checked: fewer swaps say little
/// about memory or about one latency in a hundred.
const MANY: u64 = 500;
/// The swaps before anything is measured: code is compiled, tables get their size.
const WARM_UP: u64 = 4;
/// The swaps in a row before the steady state is measured for a while. So the machine's other work
/// affects both alike.
const ROWS: u64 = 10;
/// The time between two swaps of the long form.
const PACE: Duration = Duration::from_millis(100);
/// The number of swaps between two checks of the ledger.
const LOOK_EVERY: u64 = 5;
/// The longest allowed pause of a shard. Machines of CI that do other things meanwhile get more.
const PAUSE: Duration = Duration::from_millis(50);
const PAUSE_SHORT_FORM: Duration = Duration::from_millis(1500);

/// Returns the number of swaps that the environment asks for.
fn swaps(default: u64) -> u64 {
    let value = std::env::var("SPANDREL_SWAPS").ok();
    value
        .and_then(|value| value.parse().ok())
        .unwrap_or(default)
}

/// A generation that has the stage for a tenth of a second may see almost only repeats, and may wait
/// for a core that other tests have: its drops and its time mean nothing here.
const TOLERANT: &str = "probation: { max_drop_increase: 1, max_latency_ratio: 1000000 }";

/// `drop-duplicates` and its next build, back and forth: each span arrives once, each duplicate is
/// recognised, even if its original came before a swap, and the ledger is exact.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn duplicates_are_recognised_across_swaps() -> Result<()> {
    let builds = [
        artifacts::plugin("drop-duplicates")?,
        artifacts::sdk_guest("drop_duplicates_next")?,
    ];
    let keys = &format!("config: {{ window: 10m, max_spans: 60000 }}, {TOLERANT}");
    let run = run("drop-duplicates", builds, keys, Style::Repeating).await?;
    let (ledger, taken) = (run.ended.ledger("traces")?, run.backend.taken());
    let repeated: u64 = run.sent.iter().map(|sent| sent.repeated).sum();
    let across: u64 = run.sent.iter().map(|sent| sent.across).sum();
    let distinct: HashSet<u64> = delivered(&run.sent).collect();
    say(&format!(
        "{} spans, {repeated} of them again, {across} of these after a swap",
        distinct.len()
    ));
    ensure!(across > 0, "nothing was sent again across a swap");
    ensure!(
        ledger.dropped == repeated,
        "{repeated} were sent again: {ledger:?}"
    );
    let lost = distinct.iter().filter(|id| !taken.spans.contains_key(id));
    ensure!(lost.count() == 0, "spans are lost: {ledger:?}");
    ensure!(taken.spans.len() == distinct.len(), "{ledger:?}");
    Ok(())
}

/// `keep-interesting-traces` and its next build, back and forth, while parts of traces are held:
/// each trace arrives whole or not at all, nothing twice, and the ledger is exact.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn traces_are_held_across_swaps() -> Result<()> {
    let builds = [
        artifacts::plugin("keep-interesting-traces")?,
        artifacts::sdk_guest("keep_interesting_traces_next")?,
    ];
    // Tables of this size are full before anything is measured.
    let keys = &format!(
        "{TOLERANT}, config: {{ ratio: 0.5, slow: 0s, settle: 100ms, timeout: 2s, \
         max_traces: 20000, max_decisions: 50000 }}"
    );
    let run = run("keep-interesting-traces", builds, keys, Style::InParts).await?;
    let (ledger, taken) = (run.ended.ledger("traces")?, run.backend.taken());
    let (mut whole, mut parts) = (0_u64, 0_u64);
    for trace in run.sent.iter().flat_map(|sent| &sent.traces) {
        let arrived = trace.iter().filter(|id| taken.spans.contains_key(id));
        match arrived.count() {
            0 => {}
            all if all == trace.len() => whole += 1,
            _ => parts += 1,
        }
    }
    say(&format!("{whole} traces were kept, {ledger:?}"));
    ensure!(parts == 0, "{parts} traces were torn, {whole} not");
    ensure!(whole > 0 && ledger.dropped > 0, "{ledger:?}");
    let missing = delivered(&run.sent).filter(|id| !taken.spans.contains_key(id));
    ensure!(missing.count() as u64 == ledger.dropped, "{ledger:?}");
    Ok(())
}

fn delivered(sent: &[Sent]) -> impl Iterator<Item = u64> + '_ {
    sent.iter()
        .flat_map(|sent| sent.client.delivered.iter().copied())
}

struct Run {
    backend: Backend,
    sent: Vec<Sent>,
    ended: Ended,
}

/// Swaps under load, prints the figures, and checks what holds for every plugin.
async fn run(name: &str, builds: [PathBuf; 2], keys: &str, style: Style) -> Result<Run> {
    let swaps = swaps(SWAPS);
    let backend = Backend::start().await?;
    // Senders wait when a few requests are queued. Otherwise the queue would be measured.
    // No call is hurried: a machine of CI may stop one for a tenth of a second.
    let keys = format!("limits: {{ call_deadline: 10s }}, {keys}");
    let config = Config::new(backend.endpoint())
        .stage("stage", &builds[0], &keys)
        .exporter("sending_queue: { queue_size: 16, block_on_overflow: true }");
    let collector = Collector::start(&Setup::new(&config.yaml())?.admin()).await?;
    let admin = collector.admin()?;
    let load = Arc::new(Load::default());
    let clients = load.start(&collector.address("otlp")?, style).await?;
    let figures = drive(&collector, &admin, &load, &backend, &builds, swaps).await;
    load.stop();
    let sent = clients.join_all().await;
    let ended = collector.stop().await?;
    let figures = figures.with_context(|| ended.log.tail())?;
    say(&figures.table(name));
    judge(&sent, &ended, &backend).with_context(|| ended.log.tail())?;
    figures.check_pause(if swaps < MANY {
        PAUSE_SHORT_FORM
    } else {
        PAUSE
    })?;
    if swaps >= MANY {
        figures.check_latency()?;
        figures.check_memory()?;
    }
    Ok(Run {
        backend,
        sent,
        ended,
    })
}

async fn drive(
    collector: &Collector,
    admin: &Admin,
    load: &Load,
    backend: &Backend,
    builds: &[PathBuf; 2],
    swaps: u64,
) -> Result<Figures> {
    let mut figures = Figures::default();
    let (pace, steady) = if swaps < MANY {
        (Duration::from_millis(1), Duration::from_millis(200))
    } else {
        (PACE, Duration::from_secs(3))
    };
    let mut pace = interval(pace);
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for number in 1..=WARM_UP + swaps {
        pace.tick().await;
        let build = &builds[usize::from(number % 2 == 1)];
        load.swap_begins();
        let report = admin.swap(STAGE, build).await?;
        load.swap_ended();
        expect_carried(number, &report)?;
        if number % LOOK_EVERY == 0 {
            let books = admin.books().await?;
            ensure!(books.balanced, "after swap {number}: {books:?}");
        }
        let Some(measured) = number.checked_sub(WARM_UP) else {
            continue;
        };
        let latencies = || std::mem::take(&mut backend.taken().latencies);
        if measured == 0 {
            latencies();
            continue;
        }
        figures.reports.push(report);
        figures.memory_kib.push(collector.memory_kib()?);
        if measured % (swaps / ROWS).max(1) == 0 {
            figures.swapping.append(&mut latencies());
            sleep(steady).await;
            figures.steady.append(&mut latencies());
        }
    }
    Ok(figures)
}

fn expect_carried(number: u64, report: &Report) -> Result<()> {
    // The first generation has number 1.
    let right = report.outcome == "published"
        && report.state == "carried"
        && (report.previous, report.generation) == (number, number + 1);
    ensure!(right, "swap {number}: {report:?}");
    Ok(())
}

fn judge(sent: &[Sent], ended: &Ended, backend: &Backend) -> Result<()> {
    ended.expect_code(0)?;
    let ledger = ended.ledger("traces")?;
    ledger.check()?;
    let unanswered: u64 = sent.iter().map(|sent| sent.client.unanswered).sum();
    ensure!(unanswered == 0, "{unanswered} spans were never answered");
    let believed = delivered(sent).count() as u64;
    ensure!(
        ledger.received - ledger.refused == believed,
        "clients believe in {believed}: {ledger:?}"
    );
    let taken = backend.taken();
    ensure!(
        taken.totals.spans == ledger.exported && ledger.abandoned == 0,
        "{:?}, {ledger:?}",
        taken.totals
    );
    ensure!(taken.duplicates() == 0, "{} came twice", taken.duplicates());
    Ok(())
}
