//! The README's walkthrough of a swap, as a newcomer types it.

use std::path::Path;
use std::process::{Output, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use spandrel_tests::artifacts;
use spandrel_tests::client::Client;
use spandrel_tests::collector::READY;
use spandrel_tests::config::METRICS_READERS;
use spandrel_tests::shop::Shop;
use spandrel_tests::until::{say, until};
use tempfile::TempDir;
use tokio::process::{Child, Command};
use tokio::time::timeout;

/// The section of the README with the walkthrough.
const SECTION: &str = "## Change it while it runs";
/// A tag as the example sets it, and as the edited source sets it.
const PLAIN: &str = "-> team: ";
const EDITED: &str = "-> shop.team: ";
/// The time limit of a build on a busy machine.
const PATIENCE: Duration = Duration::from_secs(600);

/// Returns the commands of the section, in order.
fn commands() -> Result<Vec<String>> {
    let readme = std::fs::read_to_string(artifacts::root().join("README.md"))?;
    let (_, section) = readme.split_once(SECTION).context("no such section")?;
    let section = section.split("\n## ").next().unwrap_or_default();
    let mut commands = Vec::new();
    let mut in_block = false;
    for line in section.lines() {
        match line {
            "```sh" => in_block = true,
            "```" => in_block = false,
            line if in_block => commands.push(line.to_owned()),
            _ => {}
        }
    }
    Ok(commands)
}

/// Makes the root of a fresh clone, as far as the walkthrough needs it: a copy of the example to
/// edit, the SDK at its place, a target directory that later runs reuse, and the collector of the
/// tests in place of the release build. The ports are free ones.
fn clone() -> Result<TempDir> {
    let (root, clone) = (artifacts::root(), TempDir::with_prefix("spandrel-")?);
    let example = clone.path().join("examples/tag-by-service");
    copy(&root.join("examples/tag-by-service"), &example)?;
    let config = std::fs::read_to_string(example.join("spandrel.yaml"))?;
    ensure!(config.contains("127.0.0.1:4317"), "{config}");
    let config = config.replace("127.0.0.1:4317", "127.0.0.1:0");
    let telemetry =
        format!("\nservice:\n  telemetry: {{ metrics: {{ readers: {METRICS_READERS} }} }}");
    let config = config.replace("\nservice:", &telemetry);
    std::fs::write(example.join("spandrel.yaml"), config)?;

    let manifest = std::fs::read_to_string(root.join("Cargo.toml"))?;
    let (before, after) = manifest.split_once("members = [").context("no members")?;
    let (_, after) = after.split_once(']').context("no end of members")?;
    let after = after.replace("default-members = [\"host/spandrel\"]\n", "");
    let after = after.replace("path = \"", &format!("path = \"{}/", root.display()));
    let manifest = format!("{before}members = [\"examples/tag-by-service\"]{after}");
    std::fs::write(clone.path().join("Cargo.toml"), manifest)?;
    std::fs::copy(root.join("Cargo.lock"), clone.path().join("Cargo.lock"))?;

    let target = artifacts::target_dir()?.join("spandrel-test-story");
    std::fs::create_dir_all(target.join("release"))?;
    std::os::unix::fs::symlink(&target, clone.path().join("target"))?;
    let program = target.join("release/spandrel");
    if program.symlink_metadata().is_ok() {
        std::fs::remove_file(&program)?;
    }
    std::os::unix::fs::symlink(artifacts::collector()?, program)?;
    Ok(clone)
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target)?;
        } else {
            std::fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

/// Returns a shell command at the root of the clone, like in a terminal.
fn shell(clone: &Path, command: &str) -> Command {
    let mut shell = Command::new("sh");
    shell
        .args(["-c", command])
        .current_dir(clone)
        .env("XDG_RUNTIME_DIR", clone)
        .env("XDG_CACHE_HOME", clone)
        .env_remove("CARGO_TARGET_DIR")
        .stdin(Stdio::null())
        .kill_on_drop(true);
    shell
}

/// Runs a command to its end. Returns what it printed.
async fn run(clone: &Path, command: &str) -> Result<String> {
    let done = timeout(PATIENCE, shell(clone, command).output()).await?;
    let Output {
        status,
        stdout,
        stderr,
    } = done?;
    let (stdout, stderr) = (String::from_utf8(stdout)?, String::from_utf8_lossy(&stderr));
    ensure!(status.success(), "{command}: {status}\n{stdout}{stderr}");
    Ok(stdout)
}

/// The collector of the first command, and a client of it.
struct Story {
    clone: TempDir,
    _collector: Child,
    client: Client,
    shop: Shop,
}

impl Story {
    /// Runs the first command, and waits until the collector serves.
    async fn begin(clone: TempDir, command: &str) -> Result<Self> {
        let command = format!("exec {command} > out.txt 2>&1");
        let collector = shell(clone.path(), &command).spawn()?;
        let client = || async {
            let out = std::fs::read_to_string(clone.path().join("out.txt")).ok()?;
            let line = out
                .lines()
                .find(|line| line.contains("receiver listening"))?;
            let address = line.split("endpoint=").nth(1)?.split(' ').next()?;
            out.contains(READY).then_some(())?;
            Client::connect(address).await.ok()
        };
        let client = until("the collector to be ready", client).await?;
        Ok(Self {
            clone,
            _collector: collector,
            client,
            shop: Shop::new(77),
        })
    }

    /// Returns the number of lines with these words that the debug exporter has printed.
    fn printed(&self, words: &str) -> Result<usize> {
        let out = std::fs::read_to_string(self.clone.path().join("out.txt"))?;
        Ok(out.lines().filter(|line| line.contains(words)).count())
    }

    /// Sends a visit. Returns how many output lines have the tag of the unedited source, and how
    /// many have that of the edited source.
    async fn tags(&mut self) -> Result<(usize, usize)> {
        let before = (self.printed(PLAIN)?, self.printed(EDITED)?);
        self.client.send(self.shop.request(1)).await?;
        let tagged = || async {
            let after = (self.printed(PLAIN).ok()?, self.printed(EDITED).ok()?);
            (after != before).then_some((after.0 - before.0, after.1 - before.1))
        };
        until("a tag in what the collector prints", tagged).await
    }

    async fn run(&self, command: &str) -> Result<String> {
        run(self.clone.path(), command).await
    }
}

/// The five commands of the README do, as they stand there, what it says: the plugin is built from
/// edited source and takes over on the running collector, and the one before it comes back. The
/// release build of the collector is replaced by the tests' build, and its ports by free ones.
#[tokio::test]
async fn the_story_of_the_readme_is_true() -> Result<()> {
    let commands = commands()?;
    let [start, edit, build, swap, rollback] = commands.as_slice() else {
        bail!("five commands are promised: {commands:#?}");
    };
    let clone = clone()?;
    // The section before it has built the plugin by the same command.
    run(clone.path(), build).await?;
    let mut story = Story::begin(clone, start).await?;
    let (plain, edited) = story.tags().await?;
    ensure!(plain > 0 && edited == 0, "{plain} plain, {edited} edited");

    let source = story
        .clone
        .path()
        .join("examples/tag-by-service/src/lib.rs");
    let before = std::fs::read_to_string(&source)?;
    story.run(edit).await?;
    ensure!(
        std::fs::read_to_string(&source)? != before,
        "{edit}: no change"
    );
    story.run(build).await?;
    let said = story.run(swap).await?;
    ensure!(said.contains("generation 2 published"), "{said}");
    let (plain, edited) = story.tags().await?;
    ensure!(plain == 0 && edited > 0, "{plain} plain, {edited} edited");
    let listed = story.run("target/release/spandrel plugin ls").await?;
    ensure!(listed.contains("wasm/tag_by_service    2"), "{listed}");
    say(&format!("{said}{listed}"));

    let said = story.run(rollback).await?;
    ensure!(said.contains("rolled back to generation 1"), "{said}");
    let (plain, edited) = story.tags().await?;
    ensure!(plain > 0 && edited == 0, "{plain} plain, {edited} edited");
    say(&said);
    Ok(())
}
