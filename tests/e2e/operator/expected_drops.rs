//! A generation that intentionally drops more, and the traces of a generation that was rolled back.

use anyhow::{Result, ensure};
use serde_json::Value;
use spandrel_tests::artifacts::guest;
use spandrel_tests::until::until;

use super::{STAGE, Site, at, count, text};

/// A probation that ends soon after there is evidence of everything.
const PROBATION: &str = "probation: { time: 1s, batches: 60, min_items: 100 }";

/// Starts a collector whose stage keeps everything, with enough history to compare with.
async fn site_that_keeps() -> Result<Site> {
    let keys = format!("{PROBATION}, config: {{ call: 30 }}");
    let mut site = Site::open(&guest("unchanged")?, &keys).await?;
    site.send(30).await?;
    Ok(site)
}

/// Swaps to the guest that drops everything.
async fn drop_everything(site: &Site, flags: &[&str]) -> Result<Value> {
    let module = guest("drop_everything")?.display().to_string();
    let swap = [&["plugin", "swap", "stage", &module], flags].concat();
    site.json(&swap).await
}

fn runs(number: u64, status: &str) -> impl Fn(&Value) -> bool {
    move |stage| {
        let running = &stage["running"];
        running["number"] == number && running["status"] == status
    }
}

/// A generation that drops more is rolled back automatically. The reason is in the log, in the
/// history and in `plugin ls`, with what runs now, and stays there until the next change.
#[tokio::test]
async fn what_was_taken_back_stays_visible() -> Result<()> {
    let mut site = site_that_keeps().await?;
    drop_everything(&site, &[]).await?;
    let stage = site.send_until("rolled back", runs(1, "running")).await?;
    ensure!(text(&stage, "/undone/event")? == "rolled back", "{stage}");
    ensure!(count(&stage, "/undone/generation")? == 2, "{stage}");
    let why = text(&stage, "/undone/why")?.to_owned();
    ensure!(why.starts_with("drops 100.0 % ("), "{why}");
    ensure!(why.contains("against 0.0 % before"), "{why}");
    let told = format!("rolled back to generation 1 from 2: {why}");
    let listed = site.run(&["plugin", "ls"]).await?;
    ensure!(listed.contains(&told), "{listed}");
    let line = site
        .collector
        .wait_for_message("plugin rolled back")
        .await?;
    ensure!(line.raw.contains("\"WARN\""), "{}", line.raw);
    let detail = line.text("detail").unwrap_or_default().to_owned();
    ensure!(
        detail.starts_with("to generation 1 from 2: drops"),
        "{detail}"
    );
    let history = site.run(&["plugin", "history"]).await?;
    ensure!(history.contains(&detail), "{history}");

    let next = guest("stateful")?.display().to_string();
    let said = site.run(&["plugin", "swap", "stage", &next]).await?;
    ensure!(said.contains("generation 3 published"), "{said}");
    let stage = site.stage().await?;
    ensure!(stage.get("undone").is_none(), "{stage}");
    let said = site.run(&["plugin", "rollback", "stage"]).await?;
    ensure!(
        said.starts_with("wasm/stage: rolled back to generation 1\n"),
        "{said}"
    );
    let stage = site.stage().await?;
    ensure!(stage.get("undone").is_none(), "asked for by hand: {stage}");
    site.collector.stop().await?.expect_code(0)
}

/// With `--expect-drops` drops are no evidence, so the generation passes its probation. A
/// generation that fails is rolled back all the same.
#[tokio::test]
async fn expected_drops_are_no_reason_and_faults_are() -> Result<()> {
    let mut site = site_that_keeps().await?;
    let report = drop_everything(&site, &["--expect-drops"]).await?;
    ensure!(text(&report, "/outcome")? == "published", "{report}");
    let stage = site.stage().await?;
    ensure!(runs(2, "probation")(&stage), "{stage}");
    ensure!(at(&stage, "/expects_drops")? == true, "{stage}");
    let listed = site.run(&["plugin", "ls"]).await?;
    ensure!(listed.contains("drops are expected"), "{listed}");
    let stage = site.send_until("passed", runs(2, "running")).await?;
    ensure!(count(&stage, "/running/figures/dropped")? > 1000, "{stage}");
    ensure!(at(&stage, "/expects_drops")? == false, "{stage}");

    let failing = guest("trap_on_the_thousandth")?.display().to_string();
    let swap = ["plugin", "swap", "stage", &failing, "--expect-drops"];
    site.run(&swap).await?;
    let stage = site.send_until("rolled back", runs(2, "running")).await?;
    ensure!(
        text(&stage, "/undone/why")?.contains("calls failed"),
        "{stage}"
    );
    site.collector.stop().await?.expect_code(0)
}

/// With `--no-probation` the generation runs without being checked. The same holds for one that was
/// tried as a shadow first, if the promotion asks for it.
#[tokio::test]
async fn without_probation_nothing_is_taken_back() -> Result<()> {
    let mut site = site_that_keeps().await?;
    drop_everything(&site, &["--no-probation"]).await?;
    let stage = site.stage().await?;
    ensure!(runs(2, "running")(&stage), "{stage}");
    let stage = site
        .send_until("seen dropping everything", |stage| {
            stage["running"]["figures"]["dropped"].as_u64() > Some(2000)
        })
        .await?;
    ensure!(runs(2, "running")(&stage), "{stage}");
    site.run(&["plugin", "rollback", "stage"]).await?;
    for (flag, status) in [
        ("--no-probation", "running"),
        ("--expect-drops", "probation"),
    ] {
        drop_everything(&site, &["--shadow"]).await?;
        let report = site.json(&["plugin", "promote", "stage", flag]).await?;
        ensure!(text(&report, "/outcome")? == "promoted", "{report}");
        let stage = site.stage().await?;
        ensure!(text(&stage, "/running/status")? == status, "{stage}");
        ensure!(
            at(&stage, "/expects_drops")? == (flag == "--expect-drops"),
            "{stage}"
        );
        site.run(&["plugin", "rollback", "stage"]).await?;
    }
    site.collector.stop().await?.expect_code(0)
}

/// A canary that is expected to drop is promoted after its time and not cancelled. Contradictory
/// flags are refused.
#[tokio::test]
async fn a_canary_may_be_expected_to_drop() -> Result<()> {
    let mut site = site_that_keeps().await?;
    drop_everything(&site, &["--canary", "50%", "--expect-drops"]).await?;
    let stage = site.send_until("promoted", runs(2, "running")).await?;
    ensure!(count(&stage, "/running/figures/dropped")? > 100, "{stage}");
    let admin = site.collector.admin()?;
    for contradiction in [
        serde_json::json!({ "no_probation": true, "expect_drops": true }),
        serde_json::json!({ "no_probation": true, "canary": 10 }),
    ] {
        admin.ask_swap(STAGE, &contradiction).await?.refusal(400)?;
    }
    until("the history", || async {
        let history = admin.history().await.ok()?;
        history
            .iter()
            .any(|event| event.event == "promoted")
            .then_some(())
    })
    .await?;
    site.collector.stop().await?.expect_code(0)
}
