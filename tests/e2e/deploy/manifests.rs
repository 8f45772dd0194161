//! Manifests, values and the Dockerfile.

use std::path::Path;
use std::process::{Command, Output};

use anyhow::{Context as _, Result, ensure};
use spandrel_tests::signing::Signer;
use spandrel_tests::until::not_run;
use spandrel_tests::{artifacts, python};

const ENVIRONMENT: (&str, &str) = ("spandrel-test-deploy", "deploy-requirements.txt");

/// Returns what the collector says about a configuration with the addresses that Kubernetes and the
/// manifests give it.
fn validate(config: &Path) -> Result<()> {
    let checked = Command::new(artifacts::collector()?)
        .args(["validate", "--config"])
        .arg(config)
        .env("MY_POD_IP", "10.0.0.1")
        .env("BACKEND", "dns:///backend.invalid:4317")
        .env("XDG_CACHE_HOME", config.parent().context("a folder")?)
        .output()?;
    let said = String::from_utf8_lossy(&checked.stderr);
    ensure!(checked.status.success(), "{}: {said}", config.display());
    Ok(())
}

/// Runs the rules on the folder `deploy` of a repository.
fn check(python: &Path, repository: &Path, keys: &Path, out: &Path) -> Result<Output> {
    let checked = Command::new(python)
        .arg(artifacts::root().join("tests/python/deploy.py"))
        .args([repository, &artifacts::plugins()?, keys, out])
        .output()?;
    Ok(checked)
}

/// Manifests and values have the form that Kubernetes wants and keep the rules of `deploy.py` (a
/// drain that fits the grace period, no root, probes that meet the health check, ...). Each
/// configuration in them, merged as the chart does, is good.
#[test]
fn manifests_are_valid() -> Result<()> {
    let Some(python) = python::interpreter(ENVIRONMENT.0, ENVIRONMENT.1)? else {
        return not_run("the test of the manifests", "there is no python3 with venv");
    };
    let folder = tempfile::tempdir()?;
    let (keys, out) = (folder.path().join("keys"), folder.path().join("out"));
    std::fs::create_dir(&keys)?;
    std::fs::create_dir(&out)?;
    std::fs::write(keys.join("plugins.pub"), Signer::new(1)?.public())?;
    std::fs::write(keys.join("registry-password"), "a password of a test")?;
    let checked = check(&python, &artifacts::root(), &keys, &out)?;
    let said = String::from_utf8_lossy(&checked.stderr);
    ensure!(checked.status.success(), "{said}");
    let names: Vec<String> = serde_json::from_slice(&checked.stdout)?;
    ensure!(names.len() >= 7, "{names:?}");
    for name in names {
        validate(&out.join(format!("{name}.yaml")))?;
    }
    validate(&super::file("image/spandrel.yaml"))
}

/// A mistake of each kind in the files is found: the test above can fail.
#[test]
fn a_wrong_manifest_is_found() -> Result<()> {
    let Some(python) = python::interpreter(ENVIRONMENT.0, ENVIRONMENT.1)? else {
        return not_run("the test of the manifests", "there is no python3 with venv");
    };
    for (name, right, wrong, words) in [
        (
            "kubernetes/gateway.yaml",
            "Seconds: 40",
            "Seconds: 30",
            "too short for a drain",
        ),
        (
            "kubernetes/gateway.yaml",
            "maxUnavailable: 1",
            "maxUnavailble: 1",
            "maxUnavailble",
        ),
        (
            "kubernetes/durable.yaml",
            "mountPath: /keys",
            "mountPath: /kes",
            "nothing is mounted",
        ),
        (
            "helm/values.yaml",
            "runAsNonRoot: true",
            "runAsNonRoot: 1",
            "runAsNonRoot",
        ),
        (
            "helm/values.yaml",
            "replicaCount",
            "replicasCount",
            "the chart knows no",
        ),
        (
            "operator/collector.yaml",
            "0.0.0.0:13133",
            "localhost:13133",
            "probes cannot reach",
        ),
    ] {
        let folder = tempfile::tempdir()?;
        let deploy = folder.path().join("deploy");
        let copied = Command::new("cp")
            .arg("-r")
            .args([&super::file(""), &deploy])
            .status()?;
        ensure!(copied.success(), "{copied}");
        let text = std::fs::read_to_string(deploy.join(name))?;
        ensure!(text.contains(right), "{name} has no {right}");
        std::fs::write(deploy.join(name), text.replacen(right, wrong, 1))?;
        let checked = check(&python, folder.path(), folder.path(), folder.path())?;
        let said = String::from_utf8_lossy(&checked.stderr);
        ensure!(
            !checked.status.success() && said.contains(words),
            "{name}, {wrong}: {said}"
        );
    }
    Ok(())
}

/// The linter finds nothing in the Dockerfile. The user is a number, and what the chart and the
/// Operator give as arguments reaches the program.
#[test]
fn the_dockerfile_is_clean() -> Result<()> {
    let path = super::file("Dockerfile");
    let text = std::fs::read_to_string(&path)?;
    for line in [
        "USER 10001:10001",
        "ENTRYPOINT [\"/spandrel\"]",
        "CMD [\"--config=/etc/spandrel/spandrel.yaml\"]",
    ] {
        ensure!(text.lines().any(|found| found == line), "no {line}");
    }
    let Some(python) = python::interpreter(ENVIRONMENT.0, ENVIRONMENT.1)? else {
        return not_run(
            "the linter of the Dockerfile",
            "there is no python3 with venv",
        );
    };
    let linter = python.with_file_name("hadolint");
    let linted = Command::new(linter).arg(path).output()?;
    let said = String::from_utf8_lossy(&linted.stdout);
    ensure!(linted.status.success() && said.is_empty(), "{said}");
    Ok(())
}

/// The context of the image has what cargo needs to know of the workspace, and no more.
#[test]
fn the_context_is_enough() -> Result<()> {
    let ignored = std::fs::read_to_string(artifacts::root().join(".dockerignore"))?;
    let kept: Vec<&str> = ignored
        .lines()
        .filter_map(|line| line.strip_prefix('!'))
        .collect();
    ensure!(
        ignored.lines().any(|line| line == "*"),
        "everything is sent"
    );
    let context = tempfile::tempdir()?;
    for name in kept {
        let to = context.path().join(name);
        std::fs::create_dir_all(to.parent().context("a folder")?)?;
        std::os::unix::fs::symlink(artifacts::root().join(name), to)?;
    }
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let read = Command::new(cargo)
        .args([
            "metadata",
            "--locked",
            "--offline",
            "--no-deps",
            "--format-version=1",
        ])
        .current_dir(context.path())
        .env_remove("CARGO_MANIFEST_DIR")
        .output()?;
    let said = String::from_utf8_lossy(&read.stderr);
    ensure!(read.status.success(), "{said}");
    ensure!(
        context.path().join("deploy/image/build").is_file(),
        "no build script"
    );
    Ok(())
}
