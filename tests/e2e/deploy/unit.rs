//! The unit, as systemd's own tools read it.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use anyhow::{Context as _, Result, ensure};
use spandrel_tests::artifacts;
use spandrel_tests::until::not_run;

/// The exposure that `systemd-analyze security` may find, in tenths: 2.5 of 10.
const EXPOSURE: &str = "25";
/// The first release that knows `Type=notify-reload`.
const NOTIFY_RELOAD: u32 = 253;

/// Writes the unit with the program of the tests in place of the installed one.
fn unit(folder: &Path) -> Result<PathBuf> {
    let text = std::fs::read_to_string(super::file("systemd/spandrel.service"))?;
    let program = artifacts::collector()?.display().to_string();
    let placed = text.replace(
        "ExecStart=/usr/bin/spandrel ",
        &format!("ExecStart={program} "),
    );
    ensure!(placed != text, "the unit starts another program");
    let path = folder.join("spandrel.service");
    std::fs::write(&path, placed)?;
    Ok(path)
}

fn analyze(arguments: &[&str], unit: &Path) -> Result<Output> {
    let mut command = Command::new("systemd-analyze");
    let output = command.args(arguments).arg(unit).output()?;
    let said = String::from_utf8_lossy(&output.stdout);
    ensure!(
        output.status.success(),
        "{said}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(output)
}

fn version() -> Result<u32> {
    let output = Command::new("systemd-analyze").arg("--version").output()?;
    let text = String::from_utf8(output.stdout)?;
    let number = text.split_whitespace().nth(1).context("no version")?;
    let digits: String = number.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().context("no version")
}

/// systemd understands every line of the unit, also with the drop-in where it is new enough, and
/// finds the service exposed to 2.5 at most.
#[test]
fn systemd_accepts_the_unit() -> Result<()> {
    if !super::has("systemd-analyze") {
        return not_run("the test of the unit", "there is no systemd-analyze");
    }
    let folder = tempfile::tempdir()?;
    let unit = unit(folder.path())?;
    let verify = |unit: &Path| -> Result<()> {
        let verified = analyze(&["verify", "--man=no"], unit)?;
        // An unknown key is a line there, and no failure.
        let complaints = String::from_utf8_lossy(&verified.stderr).into_owned();
        let ours: Vec<&str> = complaints
            .lines()
            .filter(|line| line.contains("spandrel"))
            .collect();
        ensure!(ours.is_empty(), "{complaints}");
        Ok(())
    };
    verify(&unit)?;
    let threshold = format!("--threshold={EXPOSURE}");
    analyze(
        &["security", "--offline=true", "--no-pager", &threshold],
        &unit,
    )?;
    if version()? >= NOTIFY_RELOAD {
        let drop_in = std::fs::read_to_string(super::file("systemd/notify-reload.conf"))?;
        let text = std::fs::read_to_string(&unit)?;
        std::fs::write(&unit, format!("{text}\n{drop_in}"))?;
        verify(&unit)?;
    }
    Ok(())
}

/// A key that systemd does not know is found: the test above can fail.
#[test]
fn a_wrong_key_is_found() -> Result<()> {
    if !super::has("systemd-analyze") {
        return not_run("the test of the unit", "there is no systemd-analyze");
    }
    let folder = tempfile::tempdir()?;
    let unit = unit(folder.path())?;
    let text = std::fs::read_to_string(&unit)?;
    std::fs::write(&unit, text.replace("NoNewPrivileges", "NoNewPriviliges"))?;
    let verified = analyze(&["verify", "--man=no"], &unit)?;
    let complaints = String::from_utf8_lossy(&verified.stderr).into_owned();
    ensure!(complaints.contains("NoNewPriviliges"), "{complaints}");
    Ok(())
}
