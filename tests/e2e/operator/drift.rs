//! Drift: the running stage differs from the configuration, because of a manual swap. It is marked,
//! and a reload reports it. The running configuration is shown without its secrets.

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use spandrel_tests::artifacts::guest;

use super::{STAGE, Site, at, text};

const CONFIG: &str =
    r#"config: { team: shop, from_env: "${env:CANARY}", api_key: k-9911, plain: 5 }"#;
const SECRETS: [&str; 3] = ["c4n4ry5ecret", "k-9911", "k-2222"];

/// Starts a collector whose configuration has secrets.
async fn site_with_secrets() -> Result<Site> {
    let stateful = guest("stateful")?;
    Site::open_with(&stateful, CONFIG, |setup| {
        setup.env("CANARY", "c4n4ry5ecret")
    })
    .await
}

/// A manually swapped `config` is drift: `ls` marks it, `show` says where, `reload` says that it
/// leaves it, and `swap --as-configured` ends it. No output contains a secret.
#[tokio::test]
async fn another_config_is_drift() -> Result<()> {
    let site = site_with_secrets().await?;
    ensure!(site.drift().await?.is_empty());
    let said = site.run(&["reload"]).await?;
    ensure!(said.starts_with("nothing has changed"), "{said}");
    let other = r#"{"team":"core","from_env":"x-1","api_key":"k-2222","plain":5,"extra":true}"#;
    site.run(&["plugin", "swap", "stage", "--config", other])
        .await?;

    let drift = site.drift().await?;
    let config = |at: &str, running: Value, configured: Value| json!({ "part": "config", "at": at, "running": running, "configured": configured });
    let redacted = || json!("[REDACTED]");
    let expected = [
        config("/api_key", redacted(), redacted()),
        json!({ "part": "config", "at": "/extra", "running": true }),
        config("/from_env", redacted(), redacted()),
        config("/team", json!("core"), json!("shop")),
    ];
    ensure!(drift == expected, "{drift:#?}");
    let listed = site.run(&["plugin", "ls"]).await?;
    ensure!(
        listed.contains("differs from the configuration: config"),
        "{listed}"
    );
    let shown = site.run(&["plugin", "show", "stage"]).await?;
    for line in [
        r#"config /team: "core" runs, "shop" is configured"#,
        "config /extra: true runs, nothing is configured",
        "config /from_env differs, and is not shown",
        r#""plain":5"#,
    ] {
        ensure!(shown.contains(line), "{line} is not in {shown}");
    }
    let said = site.run(&["reload"]).await?;
    ensure!(!said.contains("nothing has changed"), "{said}");
    ensure!(
        said.contains("stage wasm/stage runs something else, left as it is"),
        "{said}"
    );
    let left = site.json(&["reload"]).await?;
    ensure!(text(&left, "/left/0/stage")? == STAGE, "{left}");
    ensure!(at(&left, "/left/0/drift")? == &json!(drift), "{left}");
    let message = "stage left as it is, different from the configuration";
    let line = site.collector.wait_for_message(message).await?;
    ensure!(
        line.text("drift")
            .is_some_and(|drift| drift.contains("config /team"))
    );
    let stage = site.stage().await?;
    for text in [listed, shown, said, left.to_string(), stage.to_string()] {
        has_no_secret(&text)?;
    }

    site.run(&["plugin", "swap", "stage", "--as-configured"])
        .await?;
    ensure!(site.drift().await?.is_empty());
    let stage = site.stage().await?;
    let config =
        json!({ "team": "shop", "from_env": "[REDACTED]", "api_key": "[REDACTED]", "plain": 5 });
    ensure!(at(&stage, "/running/config")? == &config, "{stage}");
    let said = site.run(&["reload"]).await?;
    ensure!(said.starts_with("nothing has changed"), "{said}");
    let log = site.collector.stop().await?.log;
    log.lines()
        .iter()
        .try_for_each(|line| has_no_secret(&line.raw))
}

fn has_no_secret(text: &str) -> Result<()> {
    let has_one = SECRETS.iter().any(|secret| text.contains(secret));
    ensure!(!has_one, "{text}");
    Ok(())
}

/// Another build, uploaded or named, is drift of the module, with both digests; so is the earlier
/// build that a rollback brings back after the file has changed.
#[tokio::test]
async fn another_build_is_drift() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("plugin.wasm");
    std::fs::copy(guest("stateful")?, &file)?;
    let site = Site::open_with(&file, "", |setup| setup.set("service::watch", "false")).await?;
    let [old, new] = ["stateful", "unchanged"].map(sha256);
    let (old, new) = (old?, new?);
    let other = guest("unchanged")?.display().to_string();
    site.run(&["plugin", "swap", "stage", &other, "--upload"])
        .await?;
    let drift = site.drift().await?;
    ensure!(
        drift.len() == 1 && text(&drift[0], "/part")? == "module",
        "{drift:?}"
    );
    let expected = format!("upload, sha256 {new}");
    ensure!(text(&drift[0], "/running")? == expected, "{drift:?}");
    let expected = format!("{}, sha256 {old}", file.display());
    ensure!(text(&drift[0], "/configured")? == expected, "{drift:?}");
    site.run(&["plugin", "rollback", "stage"]).await?;
    ensure!(site.drift().await?.is_empty());

    std::fs::copy(&other, &file)?;
    // Another path of the configured file.
    let same = folder.path().join(".").join("plugin.wasm");
    let same = same.display().to_string();
    site.run(&["plugin", "swap", "stage", &same]).await?;
    ensure!(site.drift().await?.is_empty());
    site.run(&["plugin", "rollback", "stage"]).await?;
    let drift = site.drift().await?;
    ensure!(drift.len() == 1, "{drift:?}");
    ensure!(text(&drift[0], "/running")?.ends_with(&old), "{drift:?}");
    ensure!(text(&drift[0], "/configured")?.ends_with(&new), "{drift:?}");
    site.collector.stop().await?.expect_code(0)
}

fn sha256(name: &str) -> Result<String> {
    Ok(hex::encode(Sha256::digest(std::fs::read(guest(name)?)?)))
}

/// A reload reports a file that has changed without a watch; the running build is not touched.
#[tokio::test]
async fn a_changed_file_is_told_by_a_reload() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("plugin.wasm");
    std::fs::copy(guest("stateful")?, &file)?;
    let site = Site::open_with(&file, "", |setup| setup.set("service::watch", "false")).await?;
    std::fs::copy(guest("unchanged")?, &file)?;
    let left = site.json(&["reload"]).await?;
    let differs = at(&left, "/left/0/drift/0")?;
    ensure!(text(differs, "/part")? == "module", "{left}");
    ensure!(
        text(differs, "/running")?.ends_with(&sha256("stateful")?),
        "{left}"
    );
    ensure!(
        text(differs, "/configured")?.ends_with(&sha256("unchanged")?),
        "{left}"
    );
    ensure!(text(&site.stage().await?, "/running/sha256")? == sha256("stateful")?);
    site.run(&["plugin", "swap", "stage", "--as-configured"])
        .await?;
    ensure!(site.drift().await?.is_empty());
    ensure!(text(&site.stage().await?, "/running/sha256")? == sha256("unchanged")?);
    site.collector.stop().await?.expect_code(0)
}

/// The module's digest is named `sha256` and the configuration's `config_sha256`, in the log, in
/// the API and on the command line.
#[tokio::test]
async fn a_digest_has_one_name() -> Result<()> {
    let site = site_with_secrets().await?;
    let digest = sha256("stateful")?;
    let stage = site.stage().await?;
    ensure!(text(&stage, "/running/sha256")? == digest, "{stage}");
    let config = text(&stage, "/running/config_sha256")?;
    let line = site.collector.wait_for_message("plugin loaded").await?;
    ensure!(line.text("sha256") == Some(digest.as_str()), "{}", line.raw);
    ensure!(line.text("config_sha256") == Some(config), "{}", line.raw);
    let shown = site.run(&["plugin", "show", "stage"]).await?;
    for line in [
        format!("sha256         {digest}"),
        format!("config_sha256  {config}"),
    ] {
        ensure!(shown.contains(&line), "{shown}");
    }
    let listed = site.run(&["plugin", "ls"]).await?;
    let start = digest.get(..12).unwrap_or_default();
    ensure!(
        listed.contains("SHA256") && listed.contains(start),
        "{listed}"
    );
    site.collector.stop().await?.expect_code(0)
}
