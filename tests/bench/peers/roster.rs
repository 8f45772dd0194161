//! The contestants: ours, references, and the installed peers.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use spandrel_tests::artifacts;

use crate::arguments::{Arguments, Peer};
use crate::contestant::{Contestant, Job};

/// The programs that are built here.
#[derive(Debug)]
pub(crate) struct Tools {
    pub(crate) spandrel: PathBuf,
    native: PathBuf,
    /// The component of job 2.
    pub(crate) module: PathBuf,
    /// The folder of the comparison under the target directory.
    pub(crate) folder: PathBuf,
}

impl Tools {
    /// Builds what is missing and shows cargo's progress.
    pub(crate) fn build() -> Result<Self> {
        artifacts::collector()?;
        let mut build = vec!["--workspace", "--bin", "bench-native"];
        if !cfg!(debug_assertions) {
            build.push("--release");
        }
        artifacts::build(&build)?;
        artifacts::sdk_guest("bench_job")?;
        Self::as_built()
    }

    /// Finds what was built last, in the profile of this program.
    pub(crate) fn as_built() -> Result<Self> {
        let this = std::env::current_exe().context("cannot find this program")?;
        let built = |name: &str| existing(this.with_file_name(name));
        let target = artifacts::target_dir()?;
        let guests = target.join(artifacts::WASM_TARGET).join("release/examples");
        let folder = target.join("peers");
        std::fs::create_dir_all(&folder)?;
        Ok(Self {
            spandrel: built("spandrel")?,
            native: built("bench-native")?,
            module: existing(guests.join("bench_job.wasm"))?,
            folder,
        })
    }
}

fn existing(file: PathBuf) -> Result<PathBuf> {
    let is_file = file.is_file();
    ensure!(
        is_file,
        "{} is not there: run without --as-built",
        file.display()
    );
    Ok(file)
}

/// The contestants, and the ones that are missing.
#[derive(Debug, Default)]
pub(crate) struct Roster {
    pub(crate) contestants: Vec<Contestant>,
    /// A line for each missing peer, which says how to get it.
    pub(crate) missing: Vec<String>,
}

/// The reference of the ratios. It copies each message once, and is no bound.
pub(crate) const PROXY: &str = "raw proxy";

/// Returns the folder of the configurations.
fn configs() -> PathBuf {
    artifacts::root().join("tests/bench/peers/configs")
}

/// Returns all contestants, in the order of the table.
pub(crate) fn roster(tools: &Tools, arguments: &Arguments) -> Result<Roster> {
    let mut roster = Roster::default();
    references(&mut roster, tools)?;
    ours(&mut roster, tools);
    rotel(&mut roster, &tools.folder);
    otelcol(&mut roster);
    for peer in &arguments.peers {
        given(&mut roster, peer)?;
    }
    let wanted = |name: &str| {
        let mut words = arguments.only.iter();
        arguments.only.is_empty() || words.any(|word| name.contains(word.as_str()))
    };
    let names: Vec<String> = roster.contestants.iter().map(Contestant::title).collect();
    roster
        .contestants
        .retain(|contestant| wanted(&contestant.title()));
    roster.missing.retain(|missing| wanted(missing));
    ensure!(
        !roster.contestants.is_empty(),
        "nobody has such a name; there are:\n  {}",
        names.join("\n  ")
    );
    Ok(roster)
}

impl Roster {
    fn add(&mut self, name: &str, job: Job, command: &[&str], config: Option<PathBuf>) {
        self.contestants.push(Contestant {
            name: name.to_owned(),
            job,
            command: command.iter().map(ToString::to_string).collect(),
            config,
        });
    }
}

fn references(roster: &mut Roster, tools: &Tools) -> Result<()> {
    let this = std::env::current_exe().context("cannot find this program")?;
    let pump = [&*this.to_string_lossy(), "pump", "{listen}", "{backend}"];
    roster.add("raw TCP pump", Job::PassThrough, &pump, None);
    let spandrel = tools.spandrel.to_string_lossy();
    let proxy = [
        &*spandrel,
        "bench",
        "proxy",
        "--listen",
        "{listen}",
        "--to",
        "{backend}",
    ];
    roster.add(PROXY, Job::PassThrough, &proxy, None);
    Ok(())
}

fn ours(roster: &mut Roster, tools: &Tools) {
    let config = |job: Job| {
        Some(
            configs()
                .join("spandrel")
                .join(format!("{}.yaml", job.slug())),
        )
    };
    let spandrel = tools.spandrel.to_string_lossy();
    let native = tools.native.to_string_lossy();
    let command = [&*spandrel, "--config", "{config}"];
    for job in [Job::PassThrough, Job::Job2, Job::Twice, Job::FiveTimes] {
        roster.add("spandrel", job, &command, config(job));
    }
    // Senders wait when the queue is full: refused requests would come back with the same spans.
    let queued = [
        &*spandrel,
        "--config={config}",
        "--set=service::pipelines::traces::ack_on=queue",
        "--set=exporters::otlp_grpc::sending_queue::block_on_overflow=true",
        "--set=exporters::otlp_grpc::sending_queue::max_mib=8",
    ];
    for job in [Job::PassThrough, Job::Job2] {
        roster.add("spandrel, queue", job, &queued, config(job));
    }
    let command = [&*native, "--config", "{config}"];
    roster.add(
        "spandrel, compiled in",
        Job::Job2,
        &command,
        config(Job::Job2),
    );
}

/// Adds Rotel. Its package contains its program, and it can run Python processors.
fn rotel(roster: &mut Roster, folder: &Path) {
    let venv = folder.join("rotel");
    let Some(program) = find_rotel(&venv).or_else(|| in_path("rotel")) else {
        let venv = venv.display();
        roster.missing.push(format!(
            "rotel: python3 -m venv {venv} && {venv}/bin/pip install --pre rotel rotel-sdk"
        ));
        return;
    };
    let name = format!("rotel{}", version(&program));
    let program = program.to_string_lossy();
    let start = [
        &*program,
        "start",
        "--otlp-grpc-endpoint={listen}",
        "--otlp-http-endpoint={spare}",
        "--otlp-grpc-max-recv-msg-size-mib=64",
        "--exporter=otlp",
        "--otlp-exporter-endpoint=http://{backend}",
        "--otlp-exporter-protocol=grpc",
        "--otlp-exporter-compression=none",
    ];
    roster.add(&name, Job::PassThrough, &start, None);
    let processor = configs().join("rotel/job_2.py");
    let processor = format!("--otlp-with-trace-processor={}", processor.display());
    let with_processor: Vec<&str> = start.into_iter().chain([processor.as_str()]).collect();
    roster.add(&format!("{name}, Python"), Job::Job2, &with_processor, None);
}

/// Finds Rotel in the packages of a virtual environment, for any version of Python.
fn find_rotel(venv: &Path) -> Option<PathBuf> {
    let pythons = venv.join("lib").read_dir().ok()?;
    let programs = pythons
        .filter_map(Result::ok)
        .map(|python| python.path().join("site-packages/rotel/rotel-agent"));
    programs.into_iter().find(|program| program.is_file())
}

/// Adds the OpenTelemetry Collector, once answering when the backend has answered, and once with a
/// queue.
fn otelcol(roster: &mut Roster) {
    let program = ["otelcol-contrib", "otelcol"].into_iter().find_map(in_path);
    let Some(program) = program else {
        roster.missing.push(
            "otelcol: put `otelcol-contrib` of the OpenTelemetry Collector's releases into PATH \
             (job 2 needs its filter and transform processors)"
                .to_owned(),
        );
        return;
    };
    let name = format!("otelcol{}", version(&program));
    let program = program.to_string_lossy();
    let command = [&*program, "--config={config}"];
    // As with ours, senders wait when the queue is full, and no batches are merged.
    let queued = [
        &*program,
        "--config={config}",
        "--set=exporters::otlp::sending_queue::enabled=true",
        "--set=exporters::otlp::sending_queue::block_on_overflow=true",
    ];
    for job in [Job::PassThrough, Job::Job2] {
        let config = configs()
            .join("otelcol")
            .join(format!("{}.yaml", job.slug()));
        roster.add(&name, job, &command, Some(config.clone()));
        roster.add(&format!("{name}, queue"), job, &queued, Some(config));
    }
}

/// Adds a peer that was given on the command line.
fn given(roster: &mut Roster, peer: &Peer) -> Result<()> {
    let mut command = peer.command.clone();
    if let Some(program) = command.first_mut() {
        *program = from_here(program)?;
    }
    let command: Vec<&str> = command.iter().map(String::as_str).collect();
    for job in [Job::PassThrough, Job::Job2] {
        let config = peer.config.clone();
        let config = config.unwrap_or_else(|| configs().join("otelcol/{job}.yaml"));
        roster.add(&peer.name, job, &command, Some(config));
    }
    Ok(())
}

/// Resolves a program's path. Contestants run in a folder of their own: a path is relative to the
/// caller's folder, and a bare name is searched in `PATH`.
fn from_here(program: &str) -> Result<String> {
    if !program.contains('/') {
        return Ok(program.to_owned());
    }
    let path = std::path::absolute(program).with_context(|| format!("no path: {program}"))?;
    Ok(path.to_string_lossy().into_owned())
}

/// Returns a peer's own version, with a blank before it; empty if it reports none.
fn version(program: &Path) -> String {
    let output = Command::new(program).arg("--version").output();
    let said = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    let said = said.unwrap_or_default();
    let version = said.split_whitespace().last();
    version
        .map(|version| format!(" {version}"))
        .unwrap_or_default()
}

fn in_path(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let mut folders = std::env::split_paths(&path);
    folders.find_map(|folder| Some(folder.join(program)).filter(|program| program.is_file()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A program named by its path is found from any folder; one of `PATH` keeps its name.
    #[test]
    fn paths_are_the_callers() {
        assert_eq!(from_here("otelcol").unwrap(), "otelcol");
        assert_eq!(from_here("/opt/mine").unwrap(), "/opt/mine");
        let here = std::env::current_dir().unwrap().join("bin/mine");
        assert_eq!(from_here("./bin/mine").unwrap(), here.to_string_lossy());
        assert_eq!(from_here("bin/mine").unwrap(), here.to_string_lossy());
    }
}
