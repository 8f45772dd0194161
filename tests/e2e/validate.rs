//! `spandrel validate` reports all problems at once, each with its place, or, with none, the parts
//! that it checked.

use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use spandrel_tests::artifacts;
use spandrel_tests::collector::{Collector, Ended, Setup};
use spandrel_tests::config::Config;

/// Runs `validate` on a configuration.
async fn validate(yaml: &str) -> Result<(Ended, String)> {
    let written = Setup::new(yaml)?;
    let file = written.file("spandrel.yaml");
    let setup = Setup::bare()?.arg("validate").arg("--config").arg(&file);
    let ended = Collector::spawn(&setup)?.wait().await?;
    let told = ended
        .log
        .tail()
        .replace(&file.display().to_string(), "FILE");
    Ok((ended, told))
}

/// Returns the place of a word, line and column as an editor counts them, in the first line with
/// `line_has`.
fn place(yaml: &str, line_has: &str, word: &str) -> Result<String> {
    let mut lines = yaml.lines().enumerate();
    let (index, line) = lines
        .find(|(_, line)| line.contains(line_has))
        .with_context(|| format!("no line with {line_has}"))?;
    let from = line.find(line_has).unwrap_or_default();
    let column = line
        .get(from..)
        .and_then(|rest| rest.find(word))
        .with_context(|| format!("no {word} in {line}"))?;
    Ok(format!("FILE:{}:{}: ", index + 1, from + column + 1))
}

/// Plugins that are missing, not a component, built for another contract, or reject their config
/// are reported together with errors in the YAML, each at its key.
#[tokio::test]
async fn all_problems_are_told_at_once() -> Result<()> {
    let core = tempfile::NamedTempFile::new()?;
    std::fs::write(core.path(), b"\0asm\x01\0\0\0")?;
    let tag = artifacts::plugin("tag-by-service")?;
    let yaml = Config::new("http://127.0.0.1:1")
        .stage("missing", Path::new("/nowhere/lost.wasm"), "")
        .stage("text", &artifacts::root().join("README.md"), "")
        .stage("core", core.path(), "")
        .stage("old", &artifacts::guest("other_version")?, "")
        .stage(
            "unknown",
            &tag,
            "config: { default: { a: b }, colour: crimson }",
        )
        .stage("deep", &tag, "config: { default: { a: b }, target: moon }")
        .stage("good", &tag, "config: { default: { a: b } }")
        .exporter("tmeout: 5s")
        .yaml();
    let (ended, told) = validate(&yaml).await?;
    ended.expect_code(64)?;
    let expected = [
        ("wasm/missing", "\"/nowhere", "/nowhere/lost.wasm"),
        ("wasm/text", "\"/", "not a WebAssembly component"),
        ("wasm/core", "\"/", "core WebAssembly module"),
        ("wasm/old", "\"/", "spandrel:plugin@0.9"),
        ("wasm/unknown", "crimson", "colour"),
        ("wasm/deep", "moon", "target"),
        ("tmeout", "tmeout", "did you mean `timeout`?"),
    ];
    for (line, word, says) in expected {
        let at = place(&yaml, line, word)?;
        let found = told.lines().find(|told| told.starts_with(&at));
        let found = found.with_context(|| format!("nothing at {at} in:\n{told}"))?;
        ensure!(found.contains(says), "no {says:?} in {found:?}");
    }
    assert_eq!(told.lines().count(), expected.len(), "{told}");
    Ok(())
}

/// Without problems it reports what it checked: the number of each kind, and each plugin with its
/// digest.
#[tokio::test]
async fn what_was_checked_is_said() -> Result<()> {
    let plugin = artifacts::plugin("drop-duplicates")?;
    let config = Config::new("http://127.0.0.1:1").stage("dedup", &plugin, "");
    let (ended, told) = validate(&config.yaml()).await?;
    ended.expect_code(0)?;
    let sha256 = hex::encode(<sha2::Sha256 as sha2::Digest>::digest(std::fs::read(
        &plugin,
    )?));
    let version = env!("CARGO_PKG_VERSION");
    let expected = format!(
        "\
the configuration is good
receivers   1: otlp
processors  1: wasm/dedup
  wasm/dedup: drop-duplicates {version}, sha256 {sha256}
exporters   1: otlp_grpc
extensions  1: health_check
pipelines   3: traces, metrics, logs"
    );
    assert_eq!(told.trim_end(), expected);
    Ok(())
}

/// A setting that is accepted and has no effect gives a warning with its place, and is no reason to
/// fail.
#[tokio::test]
async fn what_does_nothing_is_a_warning() -> Result<()> {
    let yaml = Config::new("http://127.0.0.1:1")
        .exporter("wait_for_ready: true")
        .yaml();
    let (ended, told) = validate(&yaml).await?;
    ended.expect_code(0)?;
    let at = place(&yaml, "wait_for_ready", "wait_for_ready")?;
    let said = format!("warning: {at}exporters::otlp_grpc::wait_for_ready: ");
    ensure!(told.contains(&said), "no {said:?} in:\n{told}");
    Ok(())
}

/// Anything that would make a start fail also fails `validate`: missing certificates, credentials,
/// files and tokens.
#[tokio::test]
async fn what_a_start_needs_is_looked_for() -> Result<()> {
    let yaml = Config::new("http://127.0.0.1:1")
        .grpc("tls: { cert_file: /nowhere/cert.pem, key_file: /nowhere/key.pem }")
        .exporter("auth: { authenticator: bearertokenauth }")
        .yaml()
        .replace(
            "extensions:\n",
            "extensions:\n  admin: { token_file: /nowhere/admin }\n  bearertokenauth: { filename: /nowhere/token }\n",
        )
        .replace("[health_check]", "[health_check, admin, bearertokenauth]")
        .replace("exporters:\n", "exporters:\n  file: { path: /nowhere/out.jsonl }\n")
        .replace("receivers:\n", "receivers:\n  file: { path: [/nowhere/in.jsonl] }\n")
        .replace(
            "traces: { receivers: [otlp], processors: [], exporters: [otlp_grpc",
            "traces: { receivers: [otlp, file], processors: [], exporters: [file, otlp_grpc",
        );
    let (ended, told) = validate(&yaml).await?;
    ended.expect_code(64)?;
    for (line, word, says) in [
        ("  file: { path: [", "{ path", "/nowhere/in.jsonl"),
        ("  otlp: {", "{ endpoint", "/nowhere/cert.pem"),
        (
            "  file: { path: /nowhere/out",
            "/nowhere",
            "/nowhere/out.jsonl",
        ),
        ("  otlp_grpc:", "{ endpoint", "/nowhere/token"),
        ("  admin:", "/nowhere", "/nowhere/admin"),
    ] {
        let at = place(&yaml, line, word)?;
        let found = told.lines().find(|told| told.starts_with(&at));
        let found = found.with_context(|| format!("nothing at {at} in:\n{told}"))?;
        ensure!(found.contains(says), "no {says:?} in {found:?}");
    }
    assert_eq!(told.lines().count(), 5, "{told}");
    Ok(())
}
