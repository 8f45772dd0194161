//! The start, before the first span: obstacles are named, and mistakes are reported.

use std::time::Duration;

use anyhow::Result;
use spandrel_tests::artifacts;
use spandrel_tests::backend::Backend;
use spandrel_tests::client::Client;
use spandrel_tests::collector::{Collector, READY, Setup};
use spandrel_tests::config::{Config, METRICS_READERS};
use spandrel_tests::log::Line;
use spandrel_tests::shop::Shop;
use spandrel_tests::until::say;
use tokio::time::Instant;

/// A port in use gives exit code 1 and a message with the address, and nothing half-started stays.
#[tokio::test]
async fn a_port_in_use_is_named() -> Result<()> {
    let taken = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let address = taken.local_addr()?.to_string();
    let config = Config::new("http://127.0.0.1:1").yaml();
    for key in [
        "receivers::otlp::protocols::grpc::endpoint",
        "extensions::health_check::endpoint",
    ] {
        let setup = Setup::new(&config)?.set(key, &address);
        let ended = Collector::spawn(&setup)?.wait().await?;
        ended.expect_code(1)?;
        let lines = ended.log.lines();
        let named = lines
            .iter()
            .any(|line| line.raw.contains(&address) && line.raw.contains("ERROR"));
        assert!(
            named,
            "{key}: nothing names {address}:\n{}",
            ended.log.tail()
        );
        assert!(lines.iter().all(|line| line.message() != READY));
    }
    Ok(())
}

/// A missing plugin gives exit code 1 and a message with its path.
#[tokio::test]
async fn a_missing_plugin_is_named() -> Result<()> {
    let config = Config::new("http://127.0.0.1:1").stage("lost", "/nowhere/lost.wasm".as_ref(), "");
    let ended = Collector::spawn(&Setup::new(&config.yaml())?)?
        .wait()
        .await?;
    ended.expect_code(1)?;
    assert!(
        ended.log.tail().contains("/nowhere/lost.wasm"),
        "{}",
        ended.log.tail()
    );
    Ok(())
}

/// A bad config or a bad argument gives exit code 64 and the place of every problem.
#[tokio::test]
async fn bad_usage_is_told_with_its_place() -> Result<()> {
    let config = Config::new("http://127.0.0.1:1")
        .grpc("endpont: x")
        .exporter("tmeout: 5s");
    for command in ["run", "validate"] {
        let setup = Setup::new(&config.yaml())?;
        let file = setup.file("spandrel.yaml");
        let setup = Setup::bare()?.arg(command).arg("--config").arg(&file);
        let ended = Collector::spawn(&setup)?.wait().await?;
        ended.expect_code(64)?;
        let told = ended.log.tail();
        for part in ["endpont", "tmeout", "spandrel.yaml:2:", "endpoint"] {
            assert!(told.contains(part), "{command}: no {part:?} in:\n{told}");
        }
    }
    let ended = Collector::spawn(&Setup::bare()?.arg("--confg"))?
        .wait()
        .await?;
    ended.expect_code(64)
}

/// `validate` exits with 0 when all is well; `--version` names the version.
#[tokio::test]
async fn validate_and_version_answer() -> Result<()> {
    let plugin = artifacts::plugin("drop-duplicates")?;
    let good = Setup::new(
        &Config::new("http://127.0.0.1:1")
            .stage("dedup", &plugin, "")
            .yaml(),
    )?;
    let file = good.file("spandrel.yaml");
    let setup = Setup::bare()?.arg("validate").arg("--config").arg(file);
    let ended = Collector::spawn(&setup)?.wait().await?;
    ended.expect_code(0)?;
    let ended = Collector::spawn(&Setup::bare()?.arg("--version"))?
        .wait()
        .await?;
    ended.expect_code(0)?;
    assert!(
        ended.log.tail().contains(env!("CARGO_PKG_VERSION")),
        "{}",
        ended.log.tail()
    );
    Ok(())
}

/// The config in the README is valid as it stands, wherever its plugin was built.
#[tokio::test]
async fn the_config_in_the_readme_is_valid() -> Result<()> {
    let readme = std::fs::read_to_string(artifacts::root().join("README.md"))?;
    let blocks = readme.split("```yaml\n").skip(1);
    let configs: Vec<&str> = blocks
        .filter_map(|block| block.split("```").next())
        .filter(|block| block.starts_with("receivers:"))
        .collect();
    assert!(!configs.is_empty(), "the README shows no config");
    let built = artifacts::plugins()?.display().to_string();
    for config in configs {
        let here = config.replace("./target/wasm32-wasip2/release", &built);
        let file = Setup::new(&here)?;
        let setup = Setup::bare()?
            .arg("validate")
            .arg("--config")
            .arg(file.file("spandrel.yaml"));
        let ended = Collector::spawn(&setup)?.wait().await?;
        ended.expect_code(0)?;
    }
    Ok(())
}

/// Without a config the embedded default runs, and the log says so; `--set` overrides its values.
#[tokio::test]
async fn without_a_config_the_default_runs() -> Result<()> {
    let setup = Setup::bare()?
        .set("receivers::otlp::protocols::grpc::endpoint", "127.0.0.1:0")
        .set("extensions::health_check::endpoint", "127.0.0.1:0")
        .set("service::telemetry::logs::encoding", "json")
        .set("service::telemetry::metrics::readers", METRICS_READERS);
    let collector = Collector::start(&setup).await?;
    let said = collector
        .log()
        .find(|line| line.message().contains("embedded default"));
    assert!(said.is_some(), "{}", collector.log().tail());
    let mut client = Client::connect(&collector.address("otlp")?).await?;
    client.send(Shop::new(51).request(10)).await?;
    let ended = collector.stop().await?;
    ended.expect_code(0)?;
    assert_eq!(
        ended.ledger("traces")?.exported,
        client.delivered.len() as u64
    );
    Ok(())
}

/// Compiled code is kept: the second start with the same plugins does not compile, logs this, and
/// is quick. The test prints both times.
#[tokio::test]
async fn the_second_start_does_not_compile() -> Result<()> {
    let backend = Backend::start().await?;
    let mut config = Config::new(backend.endpoint());
    for name in artifacts::PLUGINS {
        let keys = match name {
            "tag-by-service" => "config: { default: { team: shop } }",
            _ => "",
        };
        config = config.stage(&name.replace('-', "_"), &artifacts::plugin(name)?, keys);
    }
    let setup = Setup::new(&config.yaml())?;
    let cache = setup.file("cache");
    std::fs::create_dir(&cache)?;
    let setup = setup.env("XDG_CACHE_HOME", cache);
    let mut times = Vec::new();
    for cached in [false, true] {
        let started = Instant::now();
        let collector = Collector::start(&setup).await?;
        times.push(started.elapsed());
        let ended = collector.stop().await?;
        ended.expect_code(0)?;
        let lines = ended.log.lines();
        let loaded: Vec<&Line> = lines
            .iter()
            .filter(|line| line.message() == "plugin loaded")
            .collect();
        assert_eq!(
            loaded.len(),
            artifacts::PLUGINS.len(),
            "{}",
            ended.log.tail()
        );
        for line in loaded {
            let said = line.field("cached").and_then(serde_json::Value::as_bool);
            assert_eq!(said, Some(cached), "{}", line.raw);
        }
    }
    assert!(times[1] < Duration::from_secs(20), "{times:?}");
    say(&format!(
        "start to ready with four plugins: {:?}, from the cache {:?}",
        times[0], times[1]
    ));
    Ok(())
}

/// Two collectors with the same config do not disturb each other.
#[tokio::test]
async fn starting_twice_is_harmless() -> Result<()> {
    let backend = Backend::start().await?;
    let setup = Setup::new(&Config::new(backend.endpoint()).yaml())?;
    let (one, two) = (
        Collector::start(&setup).await?,
        Collector::start(&setup).await?,
    );
    let mut client = Client::connect(&one.address("otlp")?).await?;
    client.send(Shop::new(52).request(10)).await?;
    two.stop().await?.expect_code(0)?;
    client.send(Shop::new(53).request(10)).await?;
    one.stop().await?.expect_code(0)?;
    assert_eq!(backend.totals().spans, client.delivered.len() as u64);
    Ok(())
}
