//! `service::plugins`: where plugins may come from, who must have signed them, how they are
//! compiled.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use spandrel_fetch::{Credentials, HostPort, Network, Settings};
use spandrel_plugin::{Compile, CompileLimits, EngineConfig, PublicKey};

use crate::problem::{Location, Problem};
use crate::text::section::Section;
use crate::text::tree::join;

/// The rules on where plugins may come from, who must have signed them, and how they are compiled.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plugins {
    /// True if every module must be signed.
    pub require_signed: bool,
    /// The keys whose signatures count if a module names none.
    pub trusted_keys: Vec<PublicKey>,
    /// The rules on where modules may be fetched from.
    pub fetch: Settings,
    /// The compiler's limits on time and memory.
    pub compile: CompileLimits,
    /// The folder for compiled and fetched modules; `None` for the user's cache directory.
    pub cache_dir: Option<PathBuf>,
}

impl Plugins {
    /// Returns the settings of an engine with room for this number of instances.
    pub fn engine(&self, instances: usize, compile: Compile) -> EngineConfig {
        let default = EngineConfig::default();
        let cache_dir = self.cache_dir.as_ref();
        EngineConfig {
            instances: u32::try_from(instances).unwrap_or(u32::MAX),
            cache: cache_dir
                .map(|base| base.join("compiled"))
                .or(default.cache),
            compile,
        }
    }
}

/// The largest key or password file. A key has two lines.
const FILE_BYTES: u64 = 64 << 10;
/// The longest time that anybody would wait for a plugin.
const LONGEST: Duration = Duration::from_secs(3600);

pub(crate) fn read(section: &Section<'_>) -> Arc<Plugins> {
    let default = Settings::default();
    let cache_dir = section.string("cache_dir").map(PathBuf::from);
    let cache = cache_dir
        .clone()
        .or_else(spandrel_plugin::cache::default_base);
    let fetch = Settings {
        allowed_hosts: list(section, "allowed_hosts", HostPort::parse),
        insecure_hosts: list(section, "insecure_hosts", HostPort::parse),
        allow_private: list(section, "allow_private", Network::parse),
        ca_file: section.string("ca_file").map(PathBuf::from),
        credentials: read_credentials(section),
        module_bytes: section.integer("max_module_mib", default.module_bytes >> 20, 1..=64) << 20,
        timeout: bounded(section, "fetch_timeout", default.timeout),
        store: cache.map(|base| base.join("modules")),
    };
    let compile = section.section("compile");
    let limits = CompileLimits::default();
    Arc::new(Plugins {
        require_signed: section.boolean("require_signed", false),
        trusted_keys: list(section, "trusted_keys", key),
        fetch,
        compile: CompileLimits {
            time: bounded(&compile, "time", limits.time),
            // With less than this the compiler hardly begins; see the default.
            memory_bytes: compile.integer("memory_mib", limits.memory_bytes >> 20, 1536..=65_536)
                << 20,
            ..limits
        },
        cache_dir,
    })
}

fn bounded(section: &Section<'_>, key: &'static str, default: Duration) -> Duration {
    let time = section.duration_positive(key, default);
    if time > LONGEST {
        section.wrong_key(key, "longer than an hour", "write a duration such as 60s");
    }
    time
}

/// Reads a list of texts with a notation of their own. `parse` returns what to write instead as its
/// error.
pub(super) fn list<T>(
    section: &Section<'_>,
    key: &'static str,
    parse: impl Fn(&str) -> Result<T, String>,
) -> Vec<T> {
    let texts = section.strings(key).into_iter();
    let parsed = texts.filter_map(|(text, at)| {
        let parsed = parse(text);
        let wrong = |instead| report(section, &join(section.path(), key), at, text, instead);
        parsed.map_err(wrong).ok()
    });
    parsed.collect()
}

fn report(section: &Section<'_>, path: &str, at: &Location, text: &str, instead: String) {
    let problem = Problem::at(at, path, format!("`{text}` is not valid here"));
    section.problems().add(problem.instead(instead));
}

/// Parses a minisign key, or reads the file with one.
pub(super) fn key(text: &str) -> Result<PublicKey, String> {
    if let Ok(key) = PublicKey::parse(text) {
        return Ok(key);
    }
    if text.starts_with("RW") {
        return Err("this key is damaged: write all of the line that begins with RW".to_owned());
    }
    let content = read_file(Path::new(text)).map_err(|error| {
        format!("write a key of minisign (RW...), or the path of its file ({error})")
    })?;
    PublicKey::parse(&content).map_err(|error| format!("in this file {error}"))
}

fn read_file(path: &Path) -> std::io::Result<String> {
    // Opening a named pipe would wait for somebody to write to it.
    let metadata = fs::metadata(path)?;
    if !metadata.is_file() || metadata.len() > FILE_BYTES {
        return Err(std::io::Error::other("it is no file, or a large one"));
    }
    fs::read_to_string(path)
}

/// Reads `credentials: { HOST: { username, password_file } }`.
fn read_credentials(section: &Section<'_>) -> Vec<Credentials> {
    let hosts = section.section("credentials");
    let problems = section.problems();
    let mut all = Vec::new();
    for (entry, path) in hosts.into_named() {
        let of = Section::named(entry, path, problems);
        of.required("username", "robot");
        of.required("password_file", "/etc/spandrel/registry-password");
        let username = of.string("username");
        let password = of.parsed("password_file", |path| {
            let password = read_file(Path::new(path));
            let password =
                password.map_err(|error| format!("write the path of a file ({error})"))?;
            Ok(password.trim_end_matches(['\r', '\n']).to_owned())
        });
        match HostPort::parse(&entry.key) {
            Err(instead) => of.wrong("this is not the name of a host", instead),
            Ok(host) => {
                all.extend(
                    username
                        .zip(password)
                        .map(|(username, password)| Credentials {
                            host,
                            username,
                            password,
                        }),
                )
            }
        }
    }
    all
}
