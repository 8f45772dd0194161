//! Misbehaving guests in the real program. They are stopped within their limits, their stage's
//! policy is applied and counted, and everything else continues.

use anyhow::{Context as _, Result};
use spandrel_tests::artifacts;
use spandrel_tests::backend::Backend;
use spandrel_tests::client::{Client, retry_after};
use spandrel_tests::collector::{Collector, Setup};
use spandrel_tests::config::Config;
use spandrel_tests::shop::Shop;
use spandrel_tests::shop::attribute::text;
use tonic::Code;

/// The guests that fail in `process`, and the fault that each is counted under.
const BAD: [(&str, &str); 8] = [
    ("trap", "trap"),
    ("panic_message", "trap"),
    ("recurse", "trap"),
    ("loop_in_process", "deadline"),
    ("grow_memory", "memory"),
    ("verdicts_wrong_length", "bad_reply"),
    ("edits_out_of_range", "bad_reply"),
    ("created_garbage", "bad_reply"),
];

async fn start(guest: &str, keys: &str) -> Result<(Backend, Collector, Client)> {
    let backend = Backend::start().await?;
    let config = Config::new(backend.endpoint()).stage("guest", &artifacts::guest(guest)?, keys);
    let collector = Collector::start(&Setup::new(&config.yaml())?).await?;
    let client = Client::connect(&collector.address("otlp")?).await?;
    Ok((backend, collector, client))
}

/// With `on_fault: pass` every span arrives as it came, for every guest, and the fault is counted
/// under its name.
#[tokio::test]
async fn pass_lets_everything_through() -> Result<()> {
    for (guest, fault) in BAD {
        passes(guest, fault)
            .await
            .with_context(|| guest.to_owned())?;
    }
    Ok(())
}

async fn passes(guest: &str, fault: &str) -> Result<()> {
    // On a busy machine a call may be slow; the default deadline would make that another fault.
    let keys = match fault {
        "deadline" => "on_fault: pass",
        _ => "on_fault: pass, limits: { call_deadline: 10s }",
    };
    let (backend, collector, mut client) = start(guest, keys).await?;
    let mut shop = Shop::new(71);
    for _ in 0..5 {
        client.send(shop.request(10)).await?;
    }
    let labels = [("stage", "wasm/guest"), ("fault", fault)];
    let faults = collector
        .metrics()
        .await?
        .sum("spandrel_stage_faults_total", &labels);
    let ended = collector.stop().await?;
    let log = ended.log.tail();
    anyhow::ensure!(faults > 0, "no fault {fault:?} is counted; the log:\n{log}");
    ended.expect_code(0)?;
    let ledger = ended.ledger("traces")?;
    ledger.check()?;
    let believed = client.delivered.len() as u64;
    anyhow::ensure!(
        ledger.exported == believed,
        "{ledger:?}, not {believed}; the log:\n{log}"
    );
    anyhow::ensure!(backend.totals().spans == believed);
    Ok(())
}

/// With `on_fault: drop` the spans are dropped with the reason `fault`, and nothing reaches the
/// backend.
#[tokio::test]
async fn drop_drops_and_counts() -> Result<()> {
    for guest in ["trap", "verdicts_wrong_length"] {
        let (backend, collector, mut client) = start(guest, "on_fault: drop").await?;
        client.send(Shop::new(72).request(40)).await?;
        let items = client.delivered.len() as u64;
        let labels = [("stage", "wasm/guest"), ("reason", "fault")];
        let metrics = collector.metrics().await?;
        assert_eq!(
            metrics.sum("spandrel_stage_dropped_items_total", &labels),
            items,
            "{guest}"
        );
        let ended = collector.stop().await?;
        ended.expect_code(0)?;
        let ledger = ended.ledger("traces")?;
        ledger.check()?;
        assert_eq!(
            (ledger.dropped, backend.totals().spans),
            (items, 0),
            "{guest}"
        );
    }
    Ok(())
}

/// With `on_fault: refuse` the sender is told to retry and keeps its spans, and the ledger counts
/// them.
#[tokio::test]
async fn refuse_tells_the_sender() -> Result<()> {
    let (backend, collector, mut client) = start("trap", "on_fault: refuse").await?;
    let status = client
        .try_send(Shop::new(73).request(20))
        .await
        .unwrap_err();
    assert_eq!(status.code(), Code::Unavailable, "{status:?}");
    assert!(retry_after(&status).is_some(), "no hint: {status:?}");
    let ended = collector.stop().await?;
    ended.expect_code(0)?;
    let ledger = ended.ledger("traces")?;
    ledger.check()?;
    assert_eq!(
        (ledger.refused, backend.totals().spans),
        (client.refused, 0)
    );
    Ok(())
}

/// A batch that fails every time is retried a few times and then refused for good, while the
/// batches around it pass.
#[tokio::test]
async fn a_poisonous_batch_is_quarantined() -> Result<()> {
    let (backend, collector, mut client) = start("poison", "on_fault: refuse").await?;
    let mut shop = Shop::new(74);
    let mut poison = shop.request(10);
    let span = &mut poison.resource_spans[0].scope_spans[0].spans[0];
    span.attributes.push(text("spandrel.test.poison", "x"));
    let status = client.send(poison).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
    // The next sender is served as soon as the plugin is back.
    client.send(shop.request(10)).await?;
    let ended = collector.stop().await?;
    ended.expect_code(0)?;
    ended.ledger("traces")?.check()?;
    assert_eq!(backend.totals().spans, client.delivered.len() as u64);
    Ok(())
}

/// A guest's panic arrives in the log with its message and its stage, without control characters
/// that a terminal would interpret.
#[tokio::test]
async fn a_panic_is_told_in_the_log() -> Result<()> {
    let (_backend, collector, mut client) = start("panic_message", "on_fault: pass").await?;
    client.send(Shop::new(75).request(10)).await?;
    let ended = collector.stop().await?;
    let lines = ended.log.lines();
    let told = lines
        .iter()
        .find(|line| line.message() == "plugin failed" && line.raw.contains("cannot judge"));
    let told = told.with_context(|| ended.log.tail())?;
    assert_eq!(told.text("stage"), Some("wasm/guest"));
    // The log's JSON escapes the character, so the parsed text is checked.
    let obeyed = |text: &str| text.contains('\u{1b}');
    for line in lines {
        let mut fields = line.fields().into_iter();
        let is_calm = !obeyed(line.message()) && fields.all(|(_, text)| !obeyed(&text));
        assert!(is_calm, "{}", line.raw);
    }
    Ok(())
}

/// A guest that floods the log is logged up to a limit; its spans pass.
#[tokio::test]
async fn a_flood_of_log_lines_is_dammed() -> Result<()> {
    let (backend, collector, mut client) =
        start("log_flood", "limits: { call_deadline: 5s }").await?;
    client.send(Shop::new(76).request(10)).await?;
    let ended = collector.stop().await?;
    ended.expect_code(0)?;
    let lines = ended.log.lines();
    let heard = lines
        .iter()
        .filter(|line| line.message().starts_with("line "))
        .count();
    assert!((1..1_000).contains(&heard), "{heard} lines of ten thousand");
    assert_eq!(backend.totals().spans, client.delivered.len() as u64);
    Ok(())
}

/// The spans of a guest that holds everything for ever are taken from it at the drain and accounted
/// for.
#[tokio::test]
async fn what_is_held_for_ever_is_accounted_for() -> Result<()> {
    let (backend, collector, mut client) = start("hold_forever", "on_fault: pass").await?;
    client.send(Shop::new(77).request(60)).await?;
    let items = client.delivered.len() as u64;
    let held = collector
        .metrics()
        .await?
        .sum("spandrel_stage_held_items", &[]);
    assert_eq!(held, items);
    let ended = collector.stop().await?;
    let ledger = ended.ledger("traces")?;
    ledger.check()?;
    assert_eq!(ledger.received, items);
    assert_eq!(ledger.exported, backend.totals().spans);
    Ok(())
}

/// A guest that loops for ever does not affect another pipeline with the same receiver and
/// exporter.
#[tokio::test]
async fn a_bad_pipeline_does_not_harm_the_others() -> Result<()> {
    let (good, bad) = (Backend::start().await?, Backend::start().await?);
    let config = Config::new(bad.endpoint())
        .stage(
            "guest",
            &artifacts::guest("loop_in_process")?,
            "on_fault: drop",
        )
        .stage("good", &artifacts::plugin("drop-health-checks")?, "");
    let setup = Setup::new(&config.yaml())?
        .set("exporters::otlp_grpc/good::endpoint", &good.endpoint())
        .set("service::pipelines::traces::processors", "[wasm/guest]")
        .set("service::pipelines::traces/good::receivers", "[otlp]")
        .set("service::pipelines::traces/good::processors", "[wasm/good]")
        .set(
            "service::pipelines::traces/good::exporters",
            "[otlp_grpc/good]",
        );
    let collector = Collector::start(&setup).await?;
    let mut client = Client::connect(&collector.address("otlp")?).await?;
    let mut shop = Shop::new(78);
    for _ in 0..10 {
        client.send(shop.request(20)).await?;
    }
    let ended = collector.stop().await?;
    ended.expect_code(0)?;
    let items = client.delivered.len() as u64;
    let (harmed, unharmed) = (ended.ledger("traces")?, ended.ledger("traces/good")?);
    harmed.check()?;
    unharmed.check()?;
    assert_eq!((harmed.dropped, bad.totals().spans), (items, 0));
    assert_eq!((unharmed.exported, good.totals().spans), (items, items));
    Ok(())
}
