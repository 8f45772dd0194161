//! logrotate and the file exporter, with the rules of `deploy/systemd/logrotate`.

use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use spandrel_tests::client::Client;
use spandrel_tests::collector::{Collector, Setup};
use spandrel_tests::shop::Shop;
use spandrel_tests::until::not_run;

/// Writes the rules for this folder, and without a change of the user: the files are this user's.
fn rules(folder: &Path) -> Result<String> {
    let text = std::fs::read_to_string(super::file("systemd/logrotate"))?;
    let lines = text
        .lines()
        .filter(|line| !line.trim_start().starts_with("su "));
    let text: Vec<&str> = lines.collect();
    let placed = text
        .join("\n")
        .replace("/var/log/spandrel", &folder.display().to_string());
    ensure!(
        placed.contains(&*folder.display().to_string()),
        "another folder is rotated"
    );
    Ok(placed + "\n")
}

fn spans_in(folder: &Path) -> Result<usize> {
    let mut spans = 0;
    for entry in folder.read_dir()? {
        let text = std::fs::read_to_string(entry?.path())?;
        spans += text.matches("\"spanId\"").count();
    }
    Ok(spans)
}

/// A file that logrotate moves loses no line, and none is torn: what is written later goes into a new
/// file at the old place, without a signal.
#[tokio::test]
async fn logrotate_loses_nothing() -> Result<()> {
    if !super::has("logrotate") {
        return not_run("the test of the rotation", "there is no logrotate");
    }
    let setup = Setup::bare()?;
    let folder = setup.file("log");
    std::fs::create_dir(&folder)?;
    let file = folder.join("traces.jsonl");
    let config = setup.file("spandrel.yaml");
    std::fs::write(
        &config,
        format!(
            "receivers: {{ otlp: {{ protocols: {{ grpc: {{ endpoint: \"127.0.0.1:0\" }} }} }} }}
exporters: {{ file: {{ path: {}, append: true }} }}
service:
  telemetry: {{ logs: {{ encoding: json }}, metrics: {{ level: none }} }}
  pipelines: {{ traces: {{ receivers: [otlp], exporters: [file] }} }}
",
            file.display()
        ),
    )?;
    let setup = setup.arg("--config").arg(config);
    let (rules_file, state) = (setup.file("logrotate"), setup.file("state"));
    std::fs::write(&rules_file, rules(&folder)?)?;
    let collector = Collector::start(&setup).await?;
    let mut client = Client::connect(&collector.address("otlp")?).await?;
    let mut shop = Shop::new(7);
    for round in 0..3 {
        client.send(shop.request(20)).await?;
        if round < 2 {
            let rotated = Command::new("logrotate")
                .args(["--force", "--state"])
                .args([&state, &rules_file])
                .output()?;
            let said = String::from_utf8_lossy(&rotated.stderr);
            ensure!(rotated.status.success(), "{said}");
            // The names have the second.
            tokio::time::sleep(std::time::Duration::from_millis(1_100)).await;
        }
    }
    collector.stop().await?.expect_code(0)?;
    let left = std::fs::metadata(&file).context("no file at the old place")?;
    ensure!(left.len() > 0, "the new file is empty");
    let packed = folder.read_dir()?.flatten();
    for entry in packed.filter(|entry| entry.path().extension().is_some_and(|it| it == "gz")) {
        let status = Command::new("gzip").arg("-d").arg(entry.path()).status()?;
        ensure!(status.success(), "{status}");
    }
    ensure!(folder.read_dir()?.count() == 3, "not rotated twice");
    let (written, sent) = (spans_in(&folder)?, client.delivered.len());
    ensure!(
        written == sent,
        "{written} of {sent} spans are in the files"
    );
    Ok(())
}
