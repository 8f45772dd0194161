//! Plugins in the form that other languages' tools make: with many core instances, several memories
//! and tail calls. Also the limits of that.

use std::path::PathBuf;

use anyhow::{Result, ensure};
use serde_json::json;
use spandrel_tests::admin::Report;
use spandrel_tests::artifacts::guest;
use spandrel_tests::backend::Backend;
use spandrel_tests::client::Client;
use spandrel_tests::collector::{Collector, Setup};
use spandrel_tests::config::Config;
use spandrel_tests::log::Line;
use spandrel_tests::parts::{Part, with};
use spandrel_tests::shop::Shop;

const STAGE: &str = "wasm/stage";

/// Writes a working plugin with these parts added.
fn plugin(setup: &Setup, parts: &[(Part, u32)]) -> Result<PathBuf> {
    let path = setup.file("parts.wasm");
    std::fs::write(&path, with(&std::fs::read(guest("stateful")?)?, parts)?)?;
    Ok(path)
}

/// Each of three large plugins starts, is swapped in with the state of the one before, and does its
/// work. One has 38 core instances with three memories, one 256 with eight, and one makes a million
/// tail calls.
#[tokio::test]
async fn large_plugins_run() -> Result<()> {
    let files = Setup::bare()?;
    let backend = Backend::start().await?;
    let config = Config::new(backend.endpoint()).stage("stage", &guest("stateful")?, "");
    // A Rust guest has three core instances and one memory. Other languages' guests also have a
    // table.
    for (parts, name) in [
        (
            vec![(Part::Memory(1), 2), (Part::Table(10), 33)],
            "like TinyGo's and Python's",
        ),
        (
            vec![
                (Part::Memories(3), 2),
                (Part::Memory(1), 1),
                (Part::Table(10), 120),
                (Part::TailCalls(1), 130),
            ],
            "the largest",
        ),
        (vec![(Part::TailCalls(1_000_000), 1)], "tail calls"),
    ] {
        let module = plugin(&files, &parts)?;
        let collector = Collector::start(&Setup::new(&config.yaml())?.admin()).await?;
        let mut client = Client::connect(&collector.address("otlp")?).await?;
        client.send(Shop::new(61).request(20)).await?;
        let admin = collector.admin()?;
        for round in 0..2 {
            let request = json!({ "module": module, "config": { "round": round } });
            let report: Report = admin.ask_swap(STAGE, &request).await?.ok()?;
            ensure!(report.outcome == "published", "{name}: {report:?}");
            ensure!(report.state == "carried", "{name}: {report:?}");
            client.send(Shop::new(62).request(20)).await?;
        }
        let ended = collector.stop().await?;
        ended.expect_code(0)?;
        let ledger = ended.ledger("traces")?;
        ledger.check()?;
        let sent = client.delivered.len() as u64;
        ensure!(ledger.exported == sent, "{name}: {sent}, {ledger:?}");
    }
    Ok(())
}

/// With 1 TiB of address space, and with the 512 GiB of small machines, a collector starts, logs
/// that there is little, and swaps its plugin.
#[tokio::test]
async fn little_address_space_is_enough() -> Result<()> {
    let backend = Backend::start().await?;
    let module = guest("stateful")?;
    let config = Config::new(backend.endpoint()).stage("stage", &module, "");
    let config = config.service("shards: 1").yaml();
    for gib in [1024, 512] {
        let setup = Setup::new(&config)?.admin().address_space(gib);
        let collector = Collector::start(&setup).await?;
        let said = |line: &Line| line.message().starts_with("little address space");
        ensure!(collector.log().find(said).is_some(), "{gib} GiB");
        let mut client = Client::connect(&collector.address("otlp")?).await?;
        for round in 0..3 {
            client.send(Shop::new(round).request(20)).await?;
            let request = json!({ "config": { "round": round } });
            let answer = collector.admin()?.ask_swap(STAGE, &request).await?;
            let report: Report = answer.ok()?;
            ensure!(report.state == "carried", "{gib} GiB: {report:?}");
        }
        let ended = collector.stop().await?;
        ended.expect_code(0)?;
        ended.ledger("traces")?.check()?;
    }
    Ok(())
}

/// One part too many is refused, and the message begins with the part that exceeds its limit.
#[tokio::test]
async fn one_too_many_is_told_first() -> Result<()> {
    let backend = Backend::start().await?;
    let config = Config::new(backend.endpoint()).stage("stage", &guest("stateful")?, "");
    let setup = Setup::new(&config.yaml())?.admin();
    let collector = Collector::start(&setup).await?;
    let admin = collector.admin()?;
    let allowed = "are allowed: build it of fewer parts";
    for (parts, said) in [
        (
            vec![(Part::Memory(1), 8)],
            format!("has 9 linear memories, at most 8 {allowed}"),
        ),
        (
            vec![(Part::Memories(9), 1)],
            format!("has 9 linear memories, at most 8 {allowed}"),
        ),
        (
            vec![(Part::TailCalls(1), 254)],
            format!("has 257 core instances, at most 256 {allowed}"),
        ),
        (
            vec![(Part::Table(1), 128)],
            format!("tables, at most 128 {allowed}"),
        ),
        (
            vec![(Part::Table(20_001), 1)],
            format!("has 20001 elements in one table, at most 20000 {allowed}"),
        ),
        // Few parts, but more memory than a stage may have: 7 of 10 MiB.
        (
            vec![(Part::Memory(160), 7)],
            "KiB of memory, the limit is 65536 KiB".to_owned(),
        ),
        // Tables count as memory: 8 bytes for each element.
        (
            vec![(Part::Memory(870), 1), (Part::Table(20_000), 90)],
            "KiB of memory, the limit is 65536 KiB".to_owned(),
        ),
    ] {
        let module = plugin(&setup, &parts)?;
        let answer = admin.ask_swap(STAGE, &json!({ "module": module })).await?;
        let why = answer.refusal(422)?;
        ensure!(why.contains(&said), "{parts:?}: {why}");
        ensure!(!why.contains("damaged"), "{parts:?}: {why}");
        ensure!(admin.running(STAGE).await? == 1, "{parts:?} is running");
    }
    collector.stop().await?.expect_code(0)
}
