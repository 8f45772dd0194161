//! One run of one contestant: free ports, a configuration for them, and `spandrel bench`.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use spandrel_tests::ports::free_address;

use crate::arguments::Arguments;
use crate::contestant::{Contestant, Places};
use crate::roster::Tools;

/// The parts of a run that are the same for every contestant.
#[derive(Debug)]
pub(crate) struct Bed {
    spandrel: PathBuf,
    module: PathBuf,
    /// The folder with the contestants' configurations, where they may also write.
    folder: tempfile::TempDir,
    arguments: Vec<String>,
}

impl Bed {
    pub(crate) fn new(tools: &Tools, arguments: &Arguments) -> Result<Self> {
        let mut all = arguments.bench.clone();
        all.extend(duration(arguments));
        Ok(Self {
            spandrel: tools.spandrel.clone(),
            module: tools.module.clone(),
            folder: tempfile::tempdir()?,
            arguments: all,
        })
    }

    /// Runs a contestant under load and returns the report of `spandrel bench`.
    pub(crate) fn run(&self, contestant: &Contestant) -> Result<Value> {
        let [listen, backend, spare] = free_addresses()?;
        let places = Places {
            listen,
            backend,
            spare,
            module: self.module.clone(),
        };
        let command = contestant.ready(&places, self.folder.path())?;
        let output = Command::new(&self.spandrel)
            .arg("bench")
            .args(&self.arguments)
            .args(["--endpoint", &places.listen, "--backend", &places.backend])
            .args(["--output", "json", "--"])
            .args(&command)
            .current_dir(self.folder.path())
            .stdin(Stdio::null())
            .output()
            .context("cannot run spandrel bench")?;
        let said = String::from_utf8_lossy(&output.stderr);
        let report = serde_json::from_slice(&output.stdout);
        ensure!(
            report.is_ok(),
            "spandrel bench ({}) gave no report of `{}`:\n{}",
            output.status,
            command.join(" "),
            said.trim_end()
        );
        Ok(report?)
    }
}

/// Returns the duration option of a run, unless the bench's own arguments have one.
fn duration(arguments: &Arguments) -> Option<String> {
    let says = |argument: &String| {
        let name = argument.split('=').next().unwrap_or_default();
        name == "--count" || name == "--duration"
    };
    let is_said = arguments.bench.iter().any(says);
    (!is_said).then(|| format!("--duration={}s", arguments.seconds))
}

/// Returns addresses of the loopback interface that are free at the moment.
fn free_addresses() -> Result<[String; 3]> {
    let [first, second, third] = [free_address()?, free_address()?, free_address()?];
    Ok([first, second, third].map(|address| address.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An option that the caller passes on is not given twice.
    #[test]
    fn a_duration_is_said_once() {
        for (bench, said) in [
            (&["--batch", "32"][..], Some("--duration=10s")),
            (&["--duration", "1s"], None),
            (&["--duration=1s"], None),
            (&["--count=1000"], None),
        ] {
            let arguments = Arguments {
                bench: bench.iter().map(ToString::to_string).collect(),
                ..Arguments::default()
            };
            assert_eq!(duration(&arguments).as_deref(), said, "{bench:?}");
        }
    }
}
