//! A small disk. Only root may mount one. Other users run their test in a namespace of their own in
//! which they are root, if the system allows it.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, ensure};

use spandrel_harness::until::{not_run, say};

/// A mounted tmpfs. It is unmounted when it is dropped.
#[derive(Debug)]
pub struct Tmpfs(PathBuf);

impl Tmpfs {
    /// Mounts one of `mib` mebibytes. Returns `None` if it may not be mounted.
    ///
    /// # Errors
    /// Returns an error if the folder cannot be made.
    pub fn mount(at: &Path, mib: u32) -> Result<Option<Self>> {
        std::fs::create_dir_all(at)?;
        let mut mount = Command::new("mount");
        mount
            .args(["-t", "tmpfs", "-o", &format!("size={mib}m"), "tmpfs"])
            .arg(at);
        let output = mount.output();
        let is_mounted = output.is_ok_and(|output| output.status.success());
        Ok(is_mounted.then(|| Self(at.to_owned())))
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        // If this fails, the mount stays until the machine is gone.
        drop(Command::new("umount").arg("-l").arg(&self.0).status());
    }
}

/// Runs this test (`test` is its whole name) again as root of a namespace that has mounts of its
/// own.
///
/// # Errors
/// Returns an error if the test fails there, or, with `CI=true`, if there can be no such namespace.
pub fn in_a_namespace(test: &str) -> Result<()> {
    /// The variable that is set in the namespace. With it, a mount that fails again does not start
    /// another namespace.
    const INSIDE: &str = "SPANDREL_TEST_NAMESPACE";
    let unshare = |program: &Path, arguments: &[&str]| {
        let mut command = Command::new("unshare");
        command.args(["--user", "--map-root-user", "--mount", "--"]);
        command.arg(program).args(arguments).env(INSIDE, "1");
        command.output()
    };
    let may = unshare(Path::new("true"), &[]).is_ok_and(|output| output.status.success());
    if !may || std::env::var_os(INSIDE).is_some() {
        return not_run(test, "neither root nor a namespace may mount a tmpfs here");
    }
    let output = unshare(&std::env::current_exe()?, &[test, "--exact", "--nocapture"])?;
    let said = String::from_utf8_lossy(&output.stdout);
    say(&said);
    let passed = output.status.success() && said.contains("test result: ok. 1 passed");
    ensure!(passed, "{}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}
