//! Far more is offered than the collector can handle. It still handles as much as it can, accepted
//! requests are answered soon, and no sender is starved.
//!
//! `SPANDREL_OVERLOAD_SECONDS=60` makes each load last a minute instead of three seconds.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use spandrel_tests::artifacts::guest;
use spandrel_tests::backend::Backend;
use spandrel_tests::client::{Client, retry_after};
use spandrel_tests::collector::{Collector, Setup};
use spandrel_tests::config::Config;
use spandrel_tests::shop::Shop;
use spandrel_tests::until::say;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use tonic::Code;

/// Returns the duration of one load.
fn duration() -> Result<Duration> {
    let seconds = match std::env::var("SPANDREL_OVERLOAD_SECONDS") {
        Ok(seconds) => seconds.parse().context("SPANDREL_OVERLOAD_SECONDS")?,
        Err(_) => 3,
    };
    Ok(Duration::from_secs(seconds))
}

/// The results that senders saw.
#[derive(Debug, Default)]
struct Seen {
    /// The latencies of calls that were accepted within the time of the load.
    latencies: Vec<Duration>,
    refused: usize,
    /// The longest wait that the collector asked for.
    longest_hint: Duration,
    /// The number of accepted spans.
    spans: u64,
}

impl Seen {
    fn add(&mut self, other: Self) {
        self.latencies.extend(other.latencies);
        self.refused += other.refused;
        self.longest_hint = self.longest_hint.max(other.longest_hint);
        self.spans += other.spans;
    }

    fn at(&self, percent: usize) -> Duration {
        let mut sorted = self.latencies.clone();
        sorted.sort_unstable();
        let at = sorted.len() * percent / 100;
        sorted.get(at).copied().unwrap_or_default()
    }
}

/// Starts senders that send again as soon as they are answered. After a refusal they wait for at
/// most half a second, even if the collector asks for more.
fn load(clients: &[Client], streams: usize, until: Instant) -> JoinSet<Result<Seen>> {
    let mut senders = JoinSet::new();
    for (number, client) in clients.iter().enumerate() {
        for stream in 0..streams {
            let client = client.clone();
            senders.spawn(send(client, (number * streams + stream) as u64, until));
        }
    }
    senders
}

async fn send(mut client: Client, seed: u64, until: Instant) -> Result<Seen> {
    let request = Shop::new(seed).request(20);
    let mut seen = Seen::default();
    while Instant::now() < until {
        let begun = Instant::now();
        match client.try_send(request.clone()).await {
            // A call that is answered later was served after this load.
            Ok(()) if Instant::now() < until => seen.latencies.push(begun.elapsed()),
            Ok(()) => {}
            Err(status) => {
                ensure!(status.code() == Code::Unavailable, "{status:?}");
                let hint = retry_after(&status).context("no RetryInfo")?;
                seen.longest_hint = seen.longest_hint.max(hint);
                seen.refused += 1;
                sleep(hint.min(Duration::from_millis(500))).await;
            }
        }
    }
    seen.spans = u64::try_from(client.delivered.len())?;
    Ok(seen)
}

async fn seen(mut senders: JoinSet<Result<Seen>>) -> Result<Seen> {
    let mut all = Seen::default();
    while let Some(one) = senders.join_next().await {
        all.add(one??);
    }
    Ok(all)
}

/// Starts a collector that can handle some hundred requests a second: each takes its stage
/// milliseconds of a core.
async fn slow_collector(ms: u64) -> Result<(Backend, Collector)> {
    let backend = Backend::start().await?;
    let keys = format!("config: {{ ms: {ms} }}");
    let config = Config::new(backend.endpoint()).stage("slow", &guest("slow")?, &keys);
    let collector = Collector::start(&Setup::new(&config.yaml())?).await?;
    Ok((backend, collector))
}

async fn clients(collector: &Collector, count: usize) -> Result<Vec<Client>> {
    let address = collector.address("otlp")?;
    let mut clients = Vec::new();
    for _ in 0..count {
        clients.push(Client::connect(&address).await?);
    }
    Ok(clients)
}

async fn close(backend: Backend, collector: Collector, spans: u64) -> Result<()> {
    backend
        .wait("all spans", |taken| taken.totals.spans >= spans)
        .await?;
    let ended = collector.stop().await?;
    ended.expect_code(0)?;
    ended.ledger("traces")?.check()
}

/// With four times as many requests as its shards can handle in a second of waiting, the collector
/// accepts as many as at its best. Accepted requests wait for little more than a second, and the
/// others are told to come back later and later.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn overload_costs_no_goodput() -> Result<()> {
    let (backend, collector) = slow_collector(20).await?;
    let clients = clients(&collector, 16).await?;
    let time = duration()?;
    let (mut best, mut most) = both(&clients, time).await?;
    let mut spans = best.spans + most.spans;
    for _ in 0..TRIES {
        if goodput(&best, &most) >= KEPT {
            break;
        }
        // Another process may have used the cores in the second half.
        (best, most) = both(&clients, time).await?;
        spans += best.spans + most.spans;
    }
    let share = goodput(&best, &most);
    say(&format!(
        "\nbest: {} accepted, p99 {:?}; overload: {} accepted ({share:.2}), {} refused, p50 {:?}, p99 {:?}, longest hint {:?}\n",
        best.latencies.len(),
        best.at(99),
        most.latencies.len(),
        most.refused,
        most.at(50),
        most.at(99),
        most.longest_hint,
    ));
    // Another test may have used the cores for a moment.
    let few = best.latencies.len() / 20;
    ensure!(best.refused <= few, "{} refused at the best", best.refused);
    ensure!(most.refused > 0, "no overload");
    ensure!(share >= KEPT, "goodput fell to {share:.2}");
    // Without a bound they would wait for four seconds and longer.
    ensure!(most.at(99) < Duration::from_secs(3), "{:?}", most.at(99));
    ensure!(most.longest_hint > Duration::from_millis(1500));
    ensure!(most.longest_hint <= Duration::from_secs(30));
    close(backend, collector, spans).await
}

/// The share of its goodput that an overloaded collector keeps.
const KEPT: f64 = 0.7;

/// The number of times that a bad result is measured again.
const TRIES: u32 = 2;

/// Returns what senders saw at the collector's best, and under overload.
async fn both(clients: &[Client], time: Duration) -> Result<(Seen, Seen)> {
    // This is enough to keep every shard busy.
    let best = seen(load(clients, 1, Instant::now() + time)).await?;
    // A shard handles 50 a second, so these would wait for four seconds, if they were allowed to.
    let most = seen(load(clients, 25, Instant::now() + time)).await?;
    Ok((best, most))
}

fn goodput(best: &Seen, most: &Seen) -> f64 {
    most.latencies.len() as f64 / best.latencies.len() as f64
}

/// A sender with one request at a time, beside one with 64 concurrent requests on each of 8
/// connections, gets a ninth of what is served, or not much less on a busy machine, and is never
/// refused.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_polite_sender_gets_its_share() -> Result<()> {
    let (backend, collector) = slow_collector(20).await?;
    let greedy = clients(&collector, 8).await?;
    let polite = clients(&collector, 1).await?;
    let time = duration()?;
    let ahead = load(&greedy, 64, Instant::now() + time + time / 2);
    sleep(time / 4).await;
    let polite = load(&polite, 1, Instant::now() + time);
    let (polite, greedy) = (seen(polite).await?, seen(ahead).await?);
    // Counts the requests that were served within the time.
    let rate = greedy.latencies.len() as f64 / (time.as_secs_f64() * 1.5);
    let share = polite.latencies.len() as f64 / time.as_secs_f64() / rate;
    say(&format!(
        "\npolite: {} accepted, {} refused, p99 {:?}, {share:.3} of what was served; greedy: {} accepted, {} refused, p99 {:?}\n",
        polite.latencies.len(),
        polite.refused,
        polite.at(99),
        greedy.latencies.len(),
        greedy.refused,
        greedy.at(99),
    ));
    ensure!(polite.refused == 0, "{} refused", polite.refused);
    // Its fair share is a ninth, which it gets on an otherwise idle machine. If it took turns with
    // all the requests, it would get one in 500.
    ensure!(share > 0.3 / 9.0, "a share of {share:.3}");
    close(backend, collector, polite.spans + greedy.spans).await
}
