//! Completions and man pages, as a package makes them with the program.

use std::process::{Command, Stdio};

use anyhow::{Result, ensure};
use spandrel_tests::artifacts;

/// bash reads its completions, and finds those of a nested command.
#[test]
fn bash_reads_its_completions() -> Result<()> {
    let program = artifacts::collector()?;
    let printed = Command::new(program)
        .args(["completions", "bash"])
        .output()?;
    ensure!(printed.status.success(), "{printed:?}");
    let script = String::from_utf8(printed.stdout)?;
    let ask = "COMP_WORDS=(spandrel plugin sw); COMP_CWORD=2
_spandrel spandrel sw plugin; echo \"${COMPREPLY[*]}\"";
    let answer = Command::new("bash")
        .args(["--norc", "-euc", &format!("{script}\n{ask}")])
        .stderr(Stdio::inherit())
        .output()?;
    let found = String::from_utf8_lossy(&answer.stdout);
    ensure!(found.trim() == "swap", "{answer:?}");
    Ok(())
}

/// The pages are where a package puts them, and an unknown shell is bad usage.
#[test]
fn pages_are_written() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let pages = folder.path().join("man1");
    let program = artifacts::collector()?;
    let status = Command::new(&program).arg("man").arg(&pages).status()?;
    ensure!(status.success(), "{status}");
    for page in ["spandrel.1", "spandrel-run.1", "spandrel-plugin-swap.1"] {
        ensure!(pages.join(page).is_file(), "{page} is missing");
    }
    let refused = Command::new(program)
        .args(["completions", "tcsh"])
        .stderr(Stdio::null())
        .status()?;
    ensure!(refused.code() == Some(64), "{refused}");
    Ok(())
}
