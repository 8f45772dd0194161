//! A clean stop and the next start, with plugins that hold and remember: no trace is judged early,
//! and earlier spans are still known. SIGKILL may lose what is known, but no span.

mod load;

use std::cell::Cell;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{Rng as _, SeedableRng as _};
use spandrel_tests::artifacts::plugin;
use spandrel_tests::backend::{Backend, Behaviour, Taken};
use spandrel_tests::client::Client;
use spandrel_tests::collector::Collector;
use spandrel_tests::config::Config;
use spandrel_tests::until::{say, until};
use tokio::time::sleep;
use tonic::Code;

use self::load::{Pieces, Sent, span};
use super::site::{SOON, Site, number};

/// Makes a config that drops duplicates, then keeps only traces with an error. Both plugins
/// remember for longer than any of these tests takes.
fn config(backend: &Backend) -> Result<Config> {
    let dedup = "config: { window: 1h, max_spans: 200000 }, limits: { memory_mib: 256 }";
    let sampler = "config: { errors: true, slow: 0s, ratio: 0.0, settle: 300ms, timeout: 1h }, \
                   limits: { memory_mib: 256, hold_time: 1h }";
    Ok(Config::new(backend.endpoint())
        .stage("dedup", &plugin("drop-duplicates")?, dedup)
        .stage("sampler", &plugin("keep-interesting-traces")?, sampler)
        .exporter(SOON))
}

/// Waits until a stage has dropped this many spans for a reason.
async fn dropped(collector: &Collector, stage: &str, reason: &str, items: u64) -> Result<()> {
    drops(collector, (stage, reason), |found| found == items).await
}

/// Waits until the number of spans that a stage has dropped for a reason is right.
async fn drops(
    collector: &Collector,
    (stage, reason): (&str, &str),
    is_right: impl Fn(u64) -> bool,
) -> Result<()> {
    let stage = format!("wasm/{stage}");
    let labels = [("stage", stage.as_str()), ("reason", reason)];
    let last = Cell::new(0);
    let look = || async {
        let metrics = collector.metrics().await.ok()?;
        let found = metrics.sum("spandrel_stage_dropped_items_total", &labels);
        last.set(found);
        is_right(found).then_some(())
    };
    let found = until("spans that are dropped", look).await;
    let what = || {
        format!(
            "{stage}, {reason}: {}\n{}",
            last.get(),
            collector.log().tail()
        )
    };
    found.with_context(what)
}

async fn held(collector: &Collector, items: u64) -> Result<()> {
    let look = || async {
        let metrics = collector.metrics().await.ok()?;
        let found = metrics.sum("spandrel_stage_held_items", &[("stage", "wasm/sampler")]);
        (found == items).then_some(())
    };
    let found = until("spans held by the sampler", look).await;
    found.with_context(|| collector.log().tail())
}

/// A child waits in the sampler when the process is told to stop. After the start its trace comes
/// out whole, as after a kill, the child's duplicate is recognised, and no plugin was asked to
/// release anything.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_tears_no_trace() -> Result<()> {
    let backend = Backend::start().await?;
    let mut site = Site::new(&config(&backend)?)?;
    let collector = site.start().await?;
    let mut client = Client::connect(&collector.address("otlp")?).await?;
    client.send(span(7, 1, Sent::Child)).await?;
    client.send(span(8, 1, Sent::Child)).await?;
    held(&collector, 2).await?;
    let ended = collector.stop().await?;
    ended.expect_code(0)?;
    let ledger = ended.ledger("traces")?;
    ledger.check()?;
    ensure!((ledger.dropped, ledger.exported) == (0, 0), "{ledger:?}");

    let collector = site.start().await?;
    held(&collector, 2).await?;
    let mut client = Client::connect(&collector.address("otlp")?).await?;
    client.send(span(7, 1, Sent::Child)).await?;
    dropped(&collector, "dedup", "duplicate", 1).await?;
    client.send(span(7, 0, Sent::FailedRoot)).await?;
    client.send(span(8, 0, Sent::Root)).await?;
    backend
        .wait("the trace", |taken| taken.totals.spans == 2)
        .await?;
    dropped(&collector, "sampler", "uninteresting", 2).await?;
    let ended = collector.stop().await?;
    ended.expect_code(0)?;
    ensure!(ended.ledger("traces")?.held == 0);

    // A decision from before the stop still holds.
    let collector = site.start().await?;
    let mut client = Client::connect(&collector.address("otlp")?).await?;
    client.send(span(7, 2, Sent::Child)).await?;
    client.send(span(8, 2, Sent::Child)).await?;
    backend
        .wait("a late span", |taken| taken.totals.spans == 3)
        .await?;
    dropped(&collector, "sampler", "uninteresting", 1).await?;
    collector.stop().await?.expect_code(0)?;
    site.told.clear();
    ensure!(backend.taken().duplicates() == 0);
    Ok(())
}

/// With a damaged file, a file of another process's life, or a removed stage, the collector starts,
/// logs and counts it, and loses no span.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_state_costs_no_span() -> Result<()> {
    for cut in [0, 100, 4200] {
        let backend = Backend::start().await?;
        let site = Site::new(&config(&backend)?)?;
        let collector = site.start().await?;
        let mut client = Client::connect(&collector.address("otlp")?).await?;
        client.send(span(7, 1, Sent::Child)).await?;
        held(&collector, 1).await?;
        collector.stop().await?.expect_code(0)?;
        let file = site.data().join("handover");
        let bytes = std::fs::read(&file)?;
        std::fs::write(&file, &bytes[..cut])?;

        let collector = site.start().await?;
        collector
            .wait_for("a word about the state", |line| {
                line.message().contains("is not used")
            })
            .await?;
        let metrics = collector.metrics().await?;
        ensure!(metrics.sum("spandrel_journal_unused_handovers_total", &[]) == 1);
        ensure!(!file.exists());
        held(&collector, 1).await?;
        let mut client = Client::connect(&collector.address("otlp")?).await?;
        client.send(span(7, 0, Sent::FailedRoot)).await?;
        backend
            .wait("the trace", |taken| taken.totals.spans == 2)
            .await?;
        collector.stop().await?.expect_code(0)?;
    }
    Ok(())
}

/// SIGTERM and SIGKILL alternate, at random moments under load, with a backend that comes and goes.
/// Each fully acknowledged trace comes out whole, or not at all if it has no error. Duplicates of
/// spans from before a SIGTERM are recognised after it. `SPANDREL_RESTARTS=200` is the long form.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stops_and_kills_lose_and_tear_nothing() -> Result<()> {
    let (rounds, seed) = (number("SPANDREL_RESTARTS", 4), number("SPANDREL_SEED", 1));
    let mut random = StdRng::seed_from_u64(seed);
    let backend = Backend::start().await?;
    let site = Site::new(&config(&backend)?)?;
    let mut sent = Pieces::default();
    let mut recognised = 0;
    // The spans that the dedup must know: sent and acknowledged since the last SIGKILL.
    let mut known: Vec<(u64, u64)> = Vec::new();
    for round in 0..2 * rounds {
        let collector = site.start().await?;
        let address = collector.address("otlp")?;
        let again: Vec<_> = known.choose_multiple(&mut random, 20).copied().collect();
        let mut client = Client::connect(&address).await?;
        for (trace, number) in &again {
            client.send(span(*trace, *number, Sent::Child)).await?;
        }
        // A duplicate of before a kill may be replayed, and is dropped once more.
        let is_right = |found| found >= again.len() as u64;
        drops(&collector, ("dedup", "duplicate"), is_right).await?;
        recognised += again.len();
        let clients = random.random_range(1..5);
        let load = load::Load::start(&address, clients, round << 32).await?;
        for _ in 0..random.random_range(1..6) {
            backend.answer(behaviour(&mut random));
            sleep(Duration::from_millis(random.random_range(10..150))).await;
        }
        let clean = random.random_bool(0.5);
        if clean {
            collector.stop().await?.expect_code(0)?;
        } else {
            collector.kill().await?;
        }
        let more = load.stop().await;
        known = if clean {
            [known, more.answered()].concat()
        } else {
            Vec::new()
        };
        sent.add(more);
    }
    backend.answer(Behaviour::Fine);
    let collector = site.start().await?;
    let mut client = Client::connect(&collector.address("otlp")?).await?;
    sent.complete(&mut client).await?;
    let (wanted, torn_by_kills) = whole_traces_came(&backend, &mut sent, &mut client).await?;
    let ended = collector.stop().await?;
    ended.expect_code(0)?;
    ended.ledger("traces")?.check()?;
    // This includes spans that came out at the end.
    let unwanted = sent.unwanted();
    let torn = unwanted
        .iter()
        .filter(|id| backend.taken().spans.contains_key(id));
    let torn = torn.count();
    ensure!(torn == 0, "{torn} spans of traces without an error came");
    ensure!(wanted > 0 && !unwanted.is_empty(), "nothing was accepted");
    say(&format!(
        "{} stops and kills: {} spans of {} traces acknowledged, 0 lost, 0 torn by a stop, {torn_by_kills} by a kill; {recognised} duplicates recognised",
        2 * rounds,
        sent.acknowledged(),
        sent.traces(),
    ));
    Ok(())
}

/// Waits for every span of every trace with an error. Returns their number, and the number of traces
/// that a SIGKILL has torn: it lost the sampler's judgement after the root was out, so the rest
/// waits in the sampler, and comes with another root.
async fn whole_traces_came(
    backend: &Backend,
    sent: &mut Pieces,
    client: &mut Client,
) -> Result<(usize, usize)> {
    let wanted = sent.wanted();
    let all = |taken: &Taken| wanted.iter().all(|id| taken.spans.contains_key(id));
    let what = "every span of every trace with an error";
    let mut torn = 0;
    if backend.wait(what, all).await.is_err() {
        let came = |id| backend.taken().spans.contains_key(&id);
        torn = sent.complete_torn(client, came).await?;
    }
    let arrived = backend.wait(what, all).await;
    arrived.with_context(|| {
        let taken = backend.taken();
        let lost: Vec<_> = wanted
            .iter()
            .filter(|id| !taken.spans.contains_key(id))
            .collect();
        format!("{} of {} lost: {lost:x?}", lost.len(), wanted.len())
    })?;
    Ok((wanted.len(), torn))
}

fn behaviour(random: &mut StdRng) -> Behaviour {
    match random.random_range(0..4) {
        0 => Behaviour::Failing {
            code: Code::Unavailable,
            percent: 100,
        },
        1 => Behaviour::Busy(Duration::from_millis(10)),
        2 => Behaviour::Slow(Duration::from_millis(5)),
        _ => Behaviour::Fine,
    }
}
