//! Sources of the configuration: `--config` (a path, `file:`, `env:`, `yaml:`; any number of them)
//! and `--set key::path=value`. Each is merged over the ones before it.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use spandrel_plugin::artifact::Digest;

use super::env::Environment;
use super::tree::{Node, Value};
use super::yaml;
use crate::problem::{Location, Problem, Problems};

/// The largest source. A configuration has kilobytes; the limit keeps a wrong path (a trace file)
/// from filling the memory.
const MAX_SOURCE_BYTES: u64 = 4 << 20;
/// The most sources: as many as the Collector takes.
const MAX_SOURCES: usize = 100;

/// The sources that the operator gave on the command line.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// The values of `--config`, in order.
    pub configs: Vec<String>,
    /// The values of `--set`, in order.
    pub sets: Vec<String>,
}

impl Sources {
    /// Returns the files among the sources, in order.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        self.configs.iter().filter_map(|config| match config {
            config
                if ["yaml:", "env:", "http:", "https:"]
                    .iter()
                    .any(|kind| config.starts_with(kind)) =>
            {
                None
            }
            config => Some(Path::new(config.strip_prefix("file:").unwrap_or(config))),
        })
    }

    /// Returns the digests of the current contents of the files, in order; `None` for one that
    /// cannot be read.
    pub fn digests(&self) -> Vec<Option<Digest>> {
        let read = |path: &Path| {
            let text = read_file(path).ok()?;
            Some(Digest::of(&[text.as_bytes()]))
        };
        self.files().map(read).collect()
    }
}

/// Reads and merges all sources. Sources with problems are left out of the result. The digest of
/// each file that was read is added to `files`.
pub(crate) fn read(
    sources: &Sources,
    environment: Environment<'_>,
    files: &mut Vec<(PathBuf, Digest)>,
    problems: &Problems,
) -> Node {
    let first = sources.configs.first().map_or("--set", String::as_str);
    let mut root = Node::new(Location::start(&first.into()), Value::Null);
    if sources.configs.len() + sources.sets.len() > MAX_SOURCES {
        let what = format!("there are more than {MAX_SOURCES} --config and --set");
        problems.add(Problem::nowhere("", what));
        return root;
    }
    for config in &sources.configs {
        match read_one(config, environment, files) {
            Ok(node) => root.merge(node),
            Err(problem) => problems.add(problem),
        }
    }
    for set in &sources.sets {
        match read_set(set) {
            Ok(node) => root.merge(node),
            Err(problem) => problems.add(problem),
        }
    }
    root
}

fn read_one(
    config: &str,
    environment: Environment<'_>,
    files: &mut Vec<(PathBuf, Digest)>,
) -> Result<Node, Problem> {
    if let Some(text) = config.strip_prefix("yaml:") {
        let node = parse_map(&"--config yaml:".into(), text)?;
        return Ok(with_nested_keys(node).hidden());
    }
    if let Some(name) = config.strip_prefix("env:") {
        let text = environment(name).ok_or_else(|| {
            Problem::nowhere(
                format!("--config {config}"),
                "this environment variable is not set",
            )
        })?;
        return parse_map(&Arc::from(config), &text).map(Node::hidden);
    }
    if config.starts_with("http:") || config.starts_with("https:") {
        let what = "configurations are not fetched over the network";
        return Err(Problem::nowhere(format!("--config {config}"), what)
            .instead("name a file, or use env:NAME or yaml:TEXT"));
    }
    let path = config.strip_prefix("file:").unwrap_or(config);
    let text = read_file(Path::new(path))
        .map_err(|error| Problem::nowhere(path, format!("cannot read the file: {error}")))?;
    files.push((PathBuf::from(path), Digest::of(&[text.as_bytes()])));
    parse_map(&Arc::from(path), &text)
}

fn read_file(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    File::open(path)?
        .take(MAX_SOURCE_BYTES + 1)
        .read_to_string(&mut text)?;
    if text.len() as u64 > MAX_SOURCE_BYTES {
        let message = format!("it is larger than {} MiB", MAX_SOURCE_BYTES >> 20);
        return Err(io::Error::other(message));
    }
    Ok(text)
}

fn read_set(set: &str) -> Result<Node, Problem> {
    // The value stays out of the message, and so does anything that may be one: it may be a secret.
    let wrong = |flag: String, what: &str| {
        Problem::nowhere(flag, what)
            .instead("write --set key::path=value, such as --set processors::batch::timeout=2s")
    };
    let (key, value) = set
        .split_once('=')
        .ok_or_else(|| wrong("--set".to_owned(), "there is no `=` in it"))?;
    let separator = if key.contains("::") { "::" } else { "." };
    if key.split(separator).any(|part| part.trim().is_empty()) {
        return Err(wrong(format!("--set {key}"), "a part of the key is empty"));
    }
    let node = yaml::parse_value(&format!("--set {key}").into(), value)?;
    Ok(node.nested(key.rsplit(separator).map(str::trim)).hidden())
}

/// Expands keys such as `processors::batch::timeout: 2s` at the top of a `yaml:` source to nested
/// maps.
fn with_nested_keys(node: Node) -> Node {
    let Value::Map(entries) = node.value else {
        return node;
    };
    let mut root = Node::new(node.at, Value::Map(Vec::new()));
    for entry in entries {
        root.merge(entry.node.nested(entry.key.rsplit("::").map(str::trim)));
    }
    root
}

fn parse_map(source: &Arc<str>, text: &str) -> Result<Node, Problem> {
    let node = yaml::parse(source, text)?;
    match &node.value {
        Value::Null | Value::Map(_) => Ok(node),
        other => {
            let what = format!("expected a map at the top, found {}", other.kind());
            Err(Problem::at(&node.at, "", what)
                .instead("the top keys are receivers, processors, exporters, extensions, service"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A value given on the command line may be a secret: no message shows it.
    #[test]
    fn a_wrong_set_does_not_show_its_value() {
        for set in ["exporters::otlp::=hunter2", "hunter2", "a::b=[hunter2"] {
            let problem = read_set(set).expect_err("wrong").to_string();
            assert!(problem.starts_with("--set"), "{problem}");
            assert!(!problem.contains("hunter2"), "{problem}");
        }
    }
}
