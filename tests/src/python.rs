//! Python with packages that tests need, in virtual environments under the target directory.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use parking_lot::Mutex;

use crate::artifacts;

/// Locks the making of environments: the first test makes one for all.
static MAKING: Mutex<()> = Mutex::new(());

/// Returns the interpreter of the virtual environment `name`, which has what the file
/// `requirements` of `tests/python` names. `None` if there is no python3 with venv.
///
/// # Errors
/// Returns an error if the environment cannot be made.
pub fn interpreter(name: &str, requirements: &str) -> Result<Option<PathBuf>> {
    let _making = MAKING.lock();
    let found = Command::new("python3")
        .args(["-c", "import venv, ensurepip"])
        .output();
    if !found.is_ok_and(|output| output.status.success()) {
        return Ok(None);
    }
    let requirements = artifacts::root().join("tests/python").join(requirements);
    let wanted = std::fs::read_to_string(&requirements)?;
    let folder = artifacts::target_dir()?.join(name);
    let (python, stamp) = (folder.join("bin/python"), folder.join("installed.txt"));
    if std::fs::read_to_string(&stamp).is_ok_and(|installed| installed == wanted) {
        return Ok(Some(python));
    }
    run(Command::new("python3")
        .args(["-m", "venv", "--clear"])
        .arg(&folder))?;
    install(&python, &requirements).with_context(|| requirements.display().to_string())?;
    std::fs::write(stamp, wanted)?;
    Ok(Some(python))
}

fn install(python: &Path, requirements: &Path) -> Result<()> {
    let mut install = Command::new(python);
    install.args(["-m", "pip", "install", "--quiet", "--requirement"]);
    run(install.arg(requirements)).context("cannot install the packages")
}

fn run(command: &mut Command) -> Result<()> {
    let status = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .status()?;
    ensure!(status.success(), "{command:?}: {status}");
    Ok(())
}
