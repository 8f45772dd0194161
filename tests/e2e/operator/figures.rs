//! Figures: drops by reason, and metrics that explain themselves.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result, ensure};
use spandrel_tests::artifacts::plugin;
use spandrel_tests::metrics;
use spandrel_tests::shop::{now, request};

use super::{STAGE, Site, count};

/// Drops are reported by reason in `plugin show`, in `plugin ls --drops`, and as JSON.
#[tokio::test]
async fn drops_are_told_by_reason() -> Result<()> {
    let mut site = Site::open(&plugin("drop-health-checks")?, "").await?;
    let none = site.run(&["plugin", "ls", "--drops"]).await?;
    ensure!(none == "nothing was dropped\n", "{none}");
    for _ in 0..3 {
        let probe = site.shop.probe(0, "/healthz", now());
        site.client.send(request(probe)).await?;
    }
    let stage = site.stage().await?;
    let dropped = stage["dropped"].as_object().context("no reasons")?;
    let [(reason, items)] = dropped.iter().collect::<Vec<_>>()[..] else {
        anyhow::bail!("{stage}");
    };
    let items = items.as_u64().context("no count")?;
    ensure!(
        items >= 3 && items == count(&stage, "/running/figures/dropped")?,
        "{stage}"
    );
    let listed = site.run(&["plugin", "ls", "--drops"]).await?;
    let row = format!("{STAGE}  {reason}");
    ensure!(
        listed
            .lines()
            .any(|line| line.starts_with(&row) && line.ends_with(&items.to_string())),
        "{listed}"
    );
    let shown = site.run(&["plugin", "show", "stage"]).await?;
    ensure!(
        shown.contains(&format!("dropped        {items} {reason}")),
        "{shown}"
    );
    site.collector.stop().await?.expect_code(0)
}

/// Every metric has a help text of its own and a type, above its samples, which are in one group.
#[tokio::test]
async fn every_metric_explains_itself() -> Result<()> {
    let mut site = Site::open(&plugin("drop-health-checks")?, "").await?;
    site.send(3).await?;
    site.run(&[
        "plugin",
        "swap",
        "stage",
        "--config",
        r#"{"routes":["/x"]}"#,
    ])
    .await?;
    let address = site.collector.address("metrics")?;
    let (code, scrape) = metrics::get(&address, "/metrics").await?;
    ensure!(code == 200);
    let mut described = BTreeSet::new();
    let (mut help, mut family) = ("", "");
    for line in scrape.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, text) = rest.split_once(' ').context(line.to_owned())?;
            ensure!(described.insert(name) && text.ends_with('.'), "{line}");
            help = name;
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').context(line.to_owned())?;
            ensure!(help == name, "{name} has no help");
            ensure!(["counter", "gauge", "summary"].contains(&kind), "{line}");
            family = name;
        } else {
            let name = line.split(['{', ' ']).next().unwrap_or_default();
            let of = name.strip_prefix(family).context(line.to_owned())?;
            ensure!(
                ["", "_sum", "_count"].contains(&of),
                "{line} under {family}"
            );
        }
    }
    ensure!(described.len() > 40, "{described:?}");
    site.collector.stop().await?.expect_code(0)
}
