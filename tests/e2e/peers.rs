//! The comparison of collectors: small, but with every contestant that is built here.

use std::process::Command;

use anyhow::{Context as _, Result};
use serde_json::Value;
use spandrel_tests::artifacts;

/// The component that does job 2.
const JOB: &str = "bench_job";

/// Every contestant that is built here handles its load, loses nothing and does its job. The bounds
/// pass everything on. Job 2 as a plugin, in chains and compiled in drops exactly the health
/// checks.
#[test]
fn ours_are_compared() -> Result<()> {
    assert!(artifacts::sdk_guest(JOB)?.is_file());
    let output = Command::new(env!("CARGO_BIN_EXE_peers"))
        .args([
            "--rounds", "1", "--only", "spandrel", "--only", "raw", "-o", "json",
        ])
        .args([
            "--",
            "--count",
            "6000",
            "--warm-up",
            "1000",
            "--batch",
            "100",
        ])
        .output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}:\n{said}", output.status);
    let report: Value = serde_json::from_slice(&output.stdout).context("the report is JSON")?;
    let contestants = report["contestants"].as_array().context("a list")?;
    let collectors: Vec<(&str, &str)> = contestants
        .iter()
        .filter_map(|one| Some((one["collector"].as_str()?, one["job"].as_str()?)))
        .collect();
    let expected = [
        ("raw TCP pump", "pass-through"),
        ("raw proxy", "pass-through"),
        ("spandrel", "pass-through"),
        ("spandrel", "job-2"),
        ("spandrel", "two-plugins"),
        ("spandrel", "five-plugins"),
        ("spandrel, queue", "pass-through"),
        ("spandrel, queue", "job-2"),
        ("spandrel, compiled in", "job-2"),
    ];
    assert_eq!(collectors, expected);
    for contestant in contestants {
        let items = &contestant["reports"][0]["items"];
        let sent = items["sent"].as_u64().context("a count")?;
        let drops = contestant["job"] != "pass-through";
        let health_checks = if drops { 0 } else { sent / 5 };
        assert_eq!(
            items["health_checks_delivered"], health_checks,
            "{contestant:#}"
        );
        assert_eq!(items["delivered"], sent - sent / 5, "{contestant:#}");
        assert_eq!(contestant["good"], true, "{contestant:#}");
    }
    Ok(())
}
