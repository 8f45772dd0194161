//! Plugins that are fetched from a server, and stay when the server is gone.

use std::path::Path;
use std::time::Duration;

use anyhow::{Result, ensure};
use spandrel_tests::artifacts::{plugin, sha256};
use spandrel_tests::backend::Backend;
use spandrel_tests::client::Client;
use spandrel_tests::collector::{Collector, Setup};
use spandrel_tests::config::Config;
use spandrel_tests::shop::Shop;
use spandrel_tests::site::Site;

use super::STAGE;

/// Makes a config with a plugin from a server on this machine.
fn remote(backend: &str, host: &str, more: &str, cache: &Path) -> Config {
    let plugins = format!(
        "insecure_hosts: [\"{host}\"], allow_private: [127.0.0.1], fetch_timeout: 5s, cache_dir: \"{}\"",
        cache.display()
    );
    Config::new(backend)
        .stage_at(
            "stage",
            &format!("{{ url: \"http://{host}/p.wasm\", {more} }}"),
            "config: { window: 10m }",
        )
        .service(&format!("plugins: {{ {plugins} }}"))
}

/// A plugin is fetched from a server by its digest, is stored, and is there at the next start
/// without the server. With nothing stored, the collector does not start.
#[tokio::test]
async fn a_plugin_comes_from_a_server() -> Result<()> {
    let backend = Backend::start().await?;
    let bytes = std::fs::read(plugin("drop-duplicates")?)?;
    let mut site = Site::start().await?;
    site.put("/p.wasm", &bytes);
    let folder = Setup::bare()?;
    let pin = format!("sha256: {}", sha256(&bytes));
    let host = site.host();
    let start = async |cache: &str| -> Result<_> {
        let config = remote(&backend.endpoint(), &host, &pin, &folder.file(cache));
        Collector::spawn(&Setup::new(&config.yaml())?)
    };
    let collector = start("one").await?;
    collector
        .wait_for_message(spandrel_tests::collector::READY)
        .await?;
    let mut client = Client::connect(&collector.address("otlp")?).await?;
    let request = Shop::new(8).request(50);
    client.send(request.clone()).await?;
    client.send(request).await?;
    let ended = collector.stop().await?;
    ended.expect_code(0)?;
    let ledger = ended.ledger("traces")?;
    // A shop sends whole visits: at least 50 spans a request.
    ensure!(
        ledger.dropped >= 50 && ledger.dropped * 2 == ledger.received,
        "{ledger:?}"
    );
    site.close().await;
    let again = start("one").await?;
    again
        .wait_for_message(spandrel_tests::collector::READY)
        .await?;
    again.stop().await?.expect_code(0)?;
    let ended = start("two").await?.wait().await?;
    ended.expect_code(1)?;
    let tail = ended.log.tail();
    ensure!(
        tail.contains("cannot fetch plugin") && tail.contains("cannot connect to"),
        "{tail}"
    );
    Ok(())
}

/// With `on_unreachable: pass` the collector starts without its plugin. Spans pass and are counted
/// as bypassed, and the plugin is swapped in automatically when its source is there.
#[tokio::test]
async fn a_plugin_may_come_later() -> Result<()> {
    let backend = Backend::start().await?;
    let bytes = std::fs::read(plugin("drop-duplicates")?)?;
    let site = Site::start().await?;
    let folder = Setup::bare()?;
    let more = format!("on_unreachable: pass, sha256: {}", sha256(&bytes));
    let config = remote(
        &backend.endpoint(),
        &site.host(),
        &more,
        &folder.file("cache"),
    );
    site.fail("/p.wasm", 503);
    let collector = Collector::start(&Setup::new(&config.yaml())?.admin()).await?;
    let admin = collector.admin()?;
    let mut client = Client::connect(&collector.address("otlp")?).await?;
    let request = Shop::new(9).request(50);
    client.send(request.clone()).await?;
    let ledger = admin.pipeline("traces").await?;
    let bypassed = ledger
        .pointer("/ledger/stages/0/bypassed")
        .and_then(serde_json::Value::as_u64);
    ensure!(bypassed == Some(50), "{ledger}");
    site.put("/p.wasm", &bytes);
    let event = tokio::time::timeout(
        Duration::from_secs(60),
        admin.wait_for(STAGE, "published", 0),
    )
    .await??;
    ensure!(event.by == "source", "{event:?}");
    let view = admin.stage(STAGE).await?;
    ensure!(view.get("previous").is_none(), "{view}");
    client.send(request.clone()).await?;
    client.send(request).await?;
    let ended = collector.stop().await?;
    ended.expect_code(0)?;
    ensure!(
        ended.ledger("traces")?.dropped == 50,
        "{:?}",
        ended.ledger("traces")?
    );
    Ok(())
}
