//! While a guest misbehaves in one pipeline, another pipeline of the same process runs as if it
//! were alone.
//!
//! `SPANDREL_NEIGHBOUR_SECONDS=5` lets every misbehaving guest misbehave for five seconds. It also prints the
//! throughput of the good pipeline when its senders wait only for answers.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use spandrel_tests::artifacts::guest;
use spandrel_tests::backend::Backend;
use spandrel_tests::client::Client;
use spandrel_tests::collector::{Collector, Setup};
use spandrel_tests::config::Config;
use spandrel_tests::shop::Shop;
use spandrel_tests::until::say;
use tokio::task::JoinSet;
use tokio::time::{Instant, interval, sleep, timeout_at};

/// The guest that behaves, for comparison.
const QUIET: &str = "unchanged";

/// The guests of the short form: one that computes, one that calls, one that takes memory, one that
/// fails at once.
const FEW: [&str; 4] = ["loop_in_process", "call_storm", "grow_memory", "trap"];

/// All guests that misbehave once they run. Those that do not start at all are refused elsewhere.
const ALL: [&str; 41] = [
    "bad_reply_later",
    "batch_twice",
    "call_storm",
    "copy_without_end",
    "created_garbage",
    "created_tiny",
    "drop_everything",
    "edits_flood",
    "edits_out_of_range",
    "edits_unknown_operation",
    "exit",
    "grow_memory",
    "handles",
    "hold_all",
    "hold_forever",
    "hold_undeclared",
    "invalid_utf8",
    "lists_of_lists",
    "log_escapes",
    "log_flood",
    "log_huge_line",
    "loop_in_drain",
    "loop_in_process",
    "loop_in_tick",
    "metric_flood",
    "odd_numbers",
    "panic_message",
    "random_huge",
    "reads_huge",
    "recurse",
    "release_forged",
    "release_twice",
    "release_unknown",
    "reply_huge",
    "sleep",
    "trap",
    "trap_in_drain",
    "trap_in_tick",
    "trap_while_holding",
    "undisposed",
    "verdicts_wrong_length",
];

/// The load of the good pipeline's senders: 7,500 spans a second, a part of what it can handle.
const SENDERS: u64 = 5;
const PAUSE: Duration = Duration::from_millis(33);
const SPANS: usize = 50;

/// The memory that a guest may cost: its own on each shard, and as much again for its replies.
const MEMORY_KIB: u64 = 512 << 10;

/// The results of the good pipeline.
struct Figures {
    /// The share of the offered requests that were answered with OK in time.
    share: f64,
    /// The latency of the answers.
    p99: Duration,
    /// The requests in a second from senders that only wait for answers; only in the long form.
    rate: Option<f64>,
    /// The memory of the process at the end.
    memory_kib: u64,
}

/// The share of its throughput that a pipeline must keep.
const KEPT: f64 = 0.95;

/// The number of times that a bad result is measured again. A guest that does harm does it each
/// time.
const TRIES: u32 = 3;

/// A pipeline keeps 95 % of its throughput beside any guest, and the guest's own pipeline accounts
/// for every item.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn neighbours_do_not_notice() -> Result<()> {
    let seconds = std::env::var("SPANDREL_NEIGHBOUR_SECONDS").ok();
    let seconds: Option<u64> = seconds.map(|seconds| seconds.parse()).transpose()?;
    let guests = if seconds.is_some() { &ALL[..] } else { &FEW };
    // This is long enough for a breaker to open, and for its senders to catch up.
    let window = Duration::from_secs(seconds.unwrap_or(3));
    let quiet = beside(QUIET, window, seconds.is_some()).await?;
    let mut table = format!(
        "\nbeside a guest: share of offered requests, p99 of answers, unpaced rate, memory\n{}",
        line(QUIET, &quiet, &quiet)
    );
    let mut harmed = Vec::new();
    for name in guests {
        let figures = beside(name, window, seconds.is_some()).await;
        let figures = figures.with_context(|| (*name).to_owned())?;
        table.push_str(&line(name, &figures, &quiet));
        // Another process may have used the cores, so a bad result is measured again, between two
        // measurements without harm: the machine was the same for all three only if these agree.
        let mut is_harmed = figures.share < KEPT * quiet.share;
        for _ in 0..TRIES {
            if !is_harmed {
                break;
            }
            let before = beside(QUIET, window, false).await?;
            let again = beside(name, window, false).await?;
            let after = beside(QUIET, window, false).await?;
            table.push_str(&line(name, &again, &before));
            let quiet = before.share.min(after.share);
            is_harmed = again.share < KEPT * quiet;
        }
        if is_harmed {
            harmed.push(*name);
        }
        let grown = figures.memory_kib.saturating_sub(quiet.memory_kib);
        ensure!(grown < MEMORY_KIB, "{name} costs {grown} KiB");
    }
    say(&table);
    ensure!(harmed.is_empty(), "not unharmed: {harmed:?}{table}");
    Ok(())
}

fn line(name: &str, figures: &Figures, quiet: &Figures) -> String {
    let rate = figures.rate.zip(quiet.rate);
    let rate = rate.map_or(String::new(), |(rate, quiet)| {
        format!(" {:>4.0} %", 100.0 * rate / quiet)
    });
    format!(
        "  {name:<24} {:>5.1} % {:>7.1} ms{rate} {:>4} MiB\n",
        100.0 * figures.share,
        figures.p99.as_secs_f64() * 1000.0,
        figures.memory_kib >> 10,
    )
}

/// Runs two pipelines with receivers and backends of their own, one of them with this guest.
async fn beside(name: &str, window: Duration, unpaced: bool) -> Result<Figures> {
    let (good, bad) = (Backend::start().await?, Backend::start().await?);
    let config = Config::new(bad.endpoint())
        .stage("guest", &guest(name)?, "on_fault: pass")
        .stage("good", &guest(QUIET)?, "");
    let endpoint = "receivers::otlp/good::protocols::grpc::endpoint";
    let setup = Setup::new(&config.yaml())?
        .set(endpoint, "127.0.0.1:0")
        .set("exporters::otlp_grpc/good::endpoint", &good.endpoint())
        .set("service::pipelines::traces::processors", "[wasm/guest]")
        .set("service::pipelines::traces/good::receivers", "[otlp/good]")
        .set("service::pipelines::traces/good::processors", "[wasm/good]")
        .set(
            "service::pipelines::traces/good::exporters",
            "[otlp_grpc/good]",
        );
    let collector = Collector::start(&setup).await?;
    let mut trouble = JoinSet::new();
    let client = Client::connect(&collector.address("otlp")?).await?;
    for seed in 0..2 {
        trouble.spawn(feed(client.clone(), Shop::new(seed)));
    }
    let address = collector.address("otlp/good")?;
    let (share, p99) = paced(&address, window).await?;
    let rate = if unpaced {
        Some(unbounded(&address, window).await?)
    } else {
        None
    };
    let memory_kib = collector.memory_kib()?;
    trouble.shutdown().await;
    let ended = collector.stop().await?;
    ended.expect_code(0)?;
    ended.ledger("traces")?.check()?;
    let ledger = ended.ledger("traces/good")?;
    ledger.check()?;
    // A call that its sender gave up at the end of the window may have been refused.
    let settled = ledger.exported + ledger.refused;
    ensure!(settled == ledger.received, "{ledger:?}");
    Ok(Figures {
        share,
        p99,
        rate,
        memory_kib,
    })
}

/// Keeps the guest busy, and ignores the answers.
async fn feed(mut client: Client, mut shop: Shop) {
    let mut pace = interval(Duration::from_millis(20));
    loop {
        pace.tick().await;
        drop(client.try_send(shop.request(20)).await);
    }
}

/// Runs senders that each send a request at intervals. Returns the share that was answered with OK
/// in the window, and the p99 latency.
async fn paced(address: &str, window: Duration) -> Result<(f64, Duration)> {
    let until = Instant::now() + window;
    let mut senders = JoinSet::new();
    for seed in 0..SENDERS {
        let mut client = Client::connect(address).await?;
        let request = Shop::new(seed).request(SPANS);
        senders.spawn(async move {
            // The senders do not start all at once.
            sleep(PAUSE * u32::try_from(seed).unwrap_or(0) / 5).await;
            let mut pace = interval(PAUSE);
            let mut answers = Vec::new();
            while Instant::now() < until {
                pace.tick().await;
                let began = Instant::now();
                if let Ok(Ok(())) = timeout_at(until, client.try_send(request.clone())).await {
                    answers.push(began.elapsed());
                }
            }
            answers
        });
    }
    let mut answers = senders.join_all().await.concat();
    answers.sort_unstable();
    let offered = SENDERS as f64 * window.as_secs_f64() / PAUSE.as_secs_f64();
    let p99 = answers.get(answers.len() * 99 / 100);
    let p99 = p99.copied().context("no answer at all")?;
    Ok((answers.len() as f64 / offered, p99))
}

/// Runs senders that send as soon as they have an answer. Returns the requests in a second.
async fn unbounded(address: &str, window: Duration) -> Result<f64> {
    let until = Instant::now() + window;
    let mut senders = JoinSet::new();
    for seed in 0..4 {
        let client = Client::connect(address).await?;
        senders.spawn(send(client, Shop::new(seed).request(SPANS), until));
    }
    let answered: u64 = senders.join_all().await.into_iter().sum();
    Ok(answered as f64 / window.as_secs_f64())
}

async fn send(mut client: Client, request: ExportTraceServiceRequest, until: Instant) -> u64 {
    let mut answered = 0;
    while let Ok(Ok(())) = timeout_at(until, client.try_send(request.clone())).await {
        answered += 1;
    }
    answered
}
