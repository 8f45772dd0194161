//! SIGKILL at random moments under load, with a plugin that holds and a backend that comes and goes.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use spandrel_tests::artifacts::plugin;
use spandrel_tests::backend::{Backend, Behaviour};
use spandrel_tests::config::Config;
use spandrel_tests::until::say;
use tokio::time::{Instant, sleep};
use tonic::Code;

use super::site::{Load, SOON, Site, number};

/// Nothing that was acknowledged is lost, including held spans. A span that comes twice was
/// unfinished in the journal. `SPANDREL_KILLS=200` is the long form; `SPANDREL_STRICT=1` limits the
/// duplicates to 0.15 s of traffic for each kill.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_acknowledged_is_lost() -> Result<()> {
    let (kills, seed) = (number("SPANDREL_KILLS", 6), number("SPANDREL_SEED", 1));
    let mut random = StdRng::seed_from_u64(seed);
    let backend = Backend::start().await?;
    // It keeps every trace, so the expected spans are known exactly.
    let keys = "config: { ratio: 1.0, settle: 50ms, timeout: 150ms }";
    let config = Config::new(backend.endpoint())
        .stage("stage", &plugin("keep-interesting-traces")?, keys)
        .exporter(SOON);
    let mut site = Site::new(&config)?;
    // The start is measured without the build.
    spandrel_tests::artifacts::collector()?;
    let (mut found, mut ran, mut longest) = (0, Duration::ZERO, Duration::ZERO);
    for kill in 0..kills {
        let clients = [1, 2, 4, 16][random.random_range(0..4)];
        let after = Duration::from_millis(random.random_range(50..1500));
        let context = || format!("kill {kill} of seed {seed}, {clients} clients, after {after:?}");
        let began = Instant::now();
        let collector = site.start().await.with_context(context)?;
        longest = longest.max(began.elapsed());
        found += Site::found(&collector)?;
        let address = collector.address("otlp")?;
        let load = Load::start(&address, clients, random.random());
        let load = load.await.with_context(context)?;
        let end = Instant::now() + after;
        while Instant::now() < end {
            backend.answer(behaviour(&mut random));
            let pause = Duration::from_millis(random.random_range(20..200));
            sleep(pause.min(end - Instant::now())).await;
        }
        ran += after;
        collector.kill().await?;
        site.tell(load.stop().await);
    }
    backend.answer(Behaviour::Fine);
    let collector = site.start().await?;
    found += Site::found(&collector)?;
    site.arrives(&backend)
        .await
        .with_context(|| collector.log().tail())?;
    let ended = collector.stop().await?;
    ended.expect_code(0)?;
    ended.ledger("traces")?.check()?;
    ensure!(!site.told.is_empty(), "nothing was accepted");
    let taken = backend.taken();
    let twice = taken.totals.spans - taken.spans.len() as u64;
    let rate = taken.spans.len() as f64 / ran.as_secs_f64();
    let mean = twice as f64 / kills as f64;
    say(&format!(
        "{kills} times SIGKILL: {} spans acknowledged, {} lost, {twice} came twice, {mean:.0} a kill = {:.3} s of traffic; {found} were unfinished; ready after {longest:?} at most",
        site.told.len(),
        site.missing(&taken),
        mean / rate,
    ));
    ensure!(
        twice <= found,
        "{twice} came twice, {found} were unfinished"
    );
    if std::env::var_os("SPANDREL_STRICT").is_some() {
        ensure!(
            mean <= 0.15 * rate,
            "{mean:.0} a kill at {rate:.0} a second"
        );
    }
    Ok(())
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
