//! An operator's view of a running collector, through the program's own command line: a guard that
//! fails open, an intent that is carried out, drift, and figures.

mod bypass;
mod drift;
mod expected_drops;
mod figures;
mod words;

use std::process::Output;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use spandrel_tests::artifacts;
use spandrel_tests::backend::Backend;
use spandrel_tests::client::Client;
use spandrel_tests::collector::{Collector, Setup};
use spandrel_tests::config::Config;
use spandrel_tests::shop::Shop;
use tokio::process::Command;

const STAGE: &str = "wasm/stage";

/// A collector with the admin API, a client of it, and its backend.
struct Site {
    backend: Backend,
    collector: Collector,
    client: Client,
    shop: Shop,
    setup: Setup,
}

impl Site {
    /// Runs this module as `wasm/stage`, with further keys of the processor.
    async fn open(module: &std::path::Path, keys: &str) -> Result<Self> {
        Self::open_with(module, keys, |setup| setup).await
    }

    async fn open_with(
        module: &std::path::Path,
        keys: &str,
        more: impl FnOnce(Setup) -> Setup,
    ) -> Result<Self> {
        let backend = Backend::start().await?;
        let config = Config::new(backend.endpoint()).stage("stage", module, keys);
        let setup = more(Setup::new(&config.yaml())?.admin());
        let collector = Collector::start(&setup).await?;
        Ok(Self {
            client: Client::connect(&collector.address("otlp")?).await?,
            shop: Shop::new(7),
            backend,
            collector,
            setup,
        })
    }

    /// Sends this many requests of at least 20 spans.
    async fn send(&mut self, requests: usize) -> Result<()> {
        for _ in 0..requests {
            self.client.send(self.shop.request(20)).await?;
        }
        Ok(())
    }

    /// Runs `spandrel ARGUMENTS` against this collector.
    async fn try_run(&self, arguments: &[&str]) -> Result<Output> {
        let socket = format!("unix:{}", self.setup.file("admin.sock").display());
        let output = Command::new(artifacts::collector()?)
            .args(arguments)
            .args(["--admin", &socket])
            .output();
        output.await.context("cannot run the command line")
    }

    /// Runs `spandrel ARGUMENTS`, which must succeed. Returns what it printed.
    async fn run(&self, arguments: &[&str]) -> Result<String> {
        let done = self.try_run(arguments).await?;
        let errors = String::from_utf8_lossy(&done.stderr);
        ensure!(done.status.success(), "{arguments:?}: {errors}");
        Ok(String::from_utf8(done.stdout)?)
    }

    /// Runs `spandrel ARGUMENTS` with JSON output, like a script.
    async fn json(&self, arguments: &[&str]) -> Result<Value> {
        let all = [arguments, &["-o", "json"]].concat();
        let text = self.run(&all).await?;
        serde_json::from_str(&text).with_context(|| text.clone())
    }

    /// Returns the stage, as `plugin show` prints it.
    async fn stage(&self) -> Result<Value> {
        self.json(&["plugin", "show", "stage"]).await
    }

    /// Returns the differences between the stage and the configuration.
    async fn drift(&self) -> Result<Vec<Value>> {
        let stage = self.stage().await?;
        Ok(stage["drift"].as_array().cloned().unwrap_or_default())
    }

    /// Sends until the view of the stage satisfies `wanted`.
    async fn send_until(&mut self, what: &str, wanted: impl Fn(&Value) -> bool) -> Result<Value> {
        for _ in 0..2000 {
            self.send(1).await?;
            let stage = self.stage().await?;
            if wanted(&stage) {
                return Ok(stage);
            }
        }
        anyhow::bail!("never {what}: {}", self.stage().await?)
    }

    /// Returns the number of log lines with this message.
    fn said(&self, message: &str) -> usize {
        let lines = self.collector.log().lines();
        lines
            .iter()
            .filter(|line| line.message().contains(message))
            .count()
    }
}

/// Returns the value at a JSON pointer.
fn at<'a>(value: &'a Value, pointer: &str) -> Result<&'a Value> {
    let found = value.pointer(pointer);
    found.with_context(|| format!("{pointer} is not in {value}"))
}

fn count(value: &Value, pointer: &str) -> Result<u64> {
    let found = at(value, pointer)?.as_u64();
    found.with_context(|| format!("{pointer} is no count in {value}"))
}

fn text<'a>(value: &'a Value, pointer: &str) -> Result<&'a str> {
    let found = at(value, pointer)?.as_str();
    found.with_context(|| format!("{pointer} is no text in {value}"))
}
