//! Commands that are found by the names that people try, and messages that repeat nothing.

use anyhow::{Result, ensure};
use serde_json::json;
use spandrel_tests::artifacts::{self, guest};
use spandrel_tests::collector::{Collector, Setup};
use spandrel_tests::config::Config;

use super::{STAGE, Site};

/// `plugin list` is `plugin ls`. The commands that the program starts itself with are in no help
/// text and no suggestion.
#[tokio::test]
async fn commands_are_found_and_hidden_ones_are_not() -> Result<()> {
    let site = Site::open(&guest("unchanged")?, "").await?;
    let list = site.json(&["plugin", "list"]).await?;
    ensure!(list == site.json(&["plugin", "ls"]).await?, "{list}");
    for arguments in [
        &["compile"][..],
        &["compile-plugins"],
        &["help", "compile-plugin"],
        &["--help"],
    ] {
        let said = std::process::Command::new(artifacts::collector()?)
            .args(arguments)
            .output()?;
        let said = [said.stdout, said.stderr].concat();
        let said = String::from_utf8_lossy(&said);
        let suggested = said.lines().filter(|line| !line.starts_with("error:"));
        let suggested = suggested.filter(|line| line.contains("compile-plugin"));
        ensure!(suggested.count() == 0, "{arguments:?}: {said}");
    }
    site.collector.stop().await?.expect_code(0)
}

/// Every refusal contains its reason once, and names the stage at most once, in an answer of the
/// API, of a reload, of `validate` and of a start.
#[tokio::test]
async fn nothing_is_said_twice_in_a_row() -> Result<()> {
    let unwatched = |setup: Setup| setup.set("service::watch", "false");
    let site = Site::open_with(&guest("unchanged")?, "", unwatched).await?;
    let admin = site.collector.admin()?;
    let mut said = Vec::new();
    for name in [
        "refuse_config",
        "trap_in_configure",
        "loop_in_configure",
        "bad_manifest",
        "trap",
        "missing_export",
    ] {
        let answer = admin
            .ask_swap(STAGE, &json!({ "module": guest(name)? }))
            .await?;
        said.push(answer.refusal(422)?);
    }
    said.push(
        admin
            .ask_swap(STAGE, &json!({ "module": "nowhere.wasm" }))
            .await?
            .refusal(422)?,
    );
    said.push(admin.ask_to("rollback", STAGE).await?.refusal(404)?);
    for name in ["refuse_config", "trap_in_configure", "trap"] {
        let config = Config::new(site.backend.endpoint()).stage("stage", &guest(name)?, "");
        let setup = Setup::new(&config.yaml())?;
        if name != "trap" {
            let ended = Collector::spawn(&setup)?.wait().await?;
            ended.expect_code(1)?;
            let line = ended.log.find(|line| line.message() == "cannot start");
            said.push(
                line.and_then(|line| line.text("error").map(str::to_owned))
                    .unwrap_or_default(),
            );
            let validated = std::process::Command::new(artifacts::collector()?)
                .args(["validate", "--config"])
                .arg(setup.file("spandrel.yaml"))
                .envs(setup.environment())
                .output()?;
            said.push(String::from_utf8(validated.stderr)?);
        }
        std::fs::write(site.setup.file("spandrel.yaml"), config.yaml())?;
        let reloaded = site.try_run(&["reload"]).await?;
        if !reloaded.status.success() {
            said.push(String::from_utf8(reloaded.stderr)?);
        }
    }
    ensure!(said.len() >= 14, "{said:#?}");
    for text in &said {
        ensure!(!text.is_empty(), "{said:#?}");
        let parts: Vec<&str> = text.trim().split(": ").collect();
        let twice = parts.windows(2).any(|pair| pair[0] == pair[1]);
        ensure!(!twice && text.matches("stage `").count() <= 1, "{text}");
    }
    site.collector.stop().await?.expect_code(0)
}

/// The first log line that a plugin writes has its name, like all others.
#[tokio::test]
async fn the_first_line_of_a_plugin_has_its_name() -> Result<()> {
    let mut site = Site::open(&guest("chatty")?, "config: { talk: true }").await?;
    site.send(1).await?;
    site.collector.wait_for_message("from stdout").await?;
    let lines = site.collector.log().lines();
    let spoken = lines
        .iter()
        .filter(|line| line.message().starts_with("from "));
    let spoken: Vec<_> = spoken.collect();
    ensure!(spoken[0].message() == "from configure", "{spoken:?}");
    for line in &spoken {
        ensure!(line.text("plugin") == Some("chatty"), "{}", line.raw);
    }
    site.collector.stop().await?.expect_code(0)
}
