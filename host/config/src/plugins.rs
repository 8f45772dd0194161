//! `service::plugins`: where plugins may come from, who must have signed them, how they are
//! compiled.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use spandrel_supply::private_dir::user_cache;
use spandrel_supply::{CompileLimits, Credentials, FetchSettings, HostPort, Network, PublicKey};

use crate::text::section::Section;

/// The rules on where plugins may come from, who must have signed them, and how they are compiled.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plugins {
    /// True if every module must be signed.
    pub require_signed: bool,
    /// The keys whose signatures count if a module names none.
    pub trusted_keys: Vec<PublicKey>,
    /// The rules on where modules may be fetched from.
    pub fetch: FetchSettings,
    /// The compiler's limits on time and memory.
    pub compile: CompileLimits,
    /// The folder for compiled and fetched modules; `None` for the user's cache directory.
    pub cache_dir: Option<PathBuf>,
}

impl Plugins {
    /// Returns the directory for compiled code; `None` if there is none for this user.
    pub fn code_cache(&self) -> Option<PathBuf> {
        let base = self.cache_dir.clone().or_else(user_cache)?;
        Some(base.join("compiled"))
    }
}

/// The largest key or password file. A key has two lines.
const FILE_BYTES: u64 = 64 << 10;
/// The remedy for a time that nobody would wait for a plugin.
const SHORTER: &str = "write a duration such as 60s";
/// The notation of a key.
pub(crate) const KEY: &str = "minisign key, or the path of its file";

pub(crate) fn read(section: &Section<'_>) -> Arc<Plugins> {
    let default = FetchSettings::default();
    let cache_dir = section.file("cache_dir");
    let cache = cache_dir.clone().or_else(user_cache);
    let fetch = FetchSettings {
        allowed_hosts: section.parsed_list("allowed_hosts", "host or host:port", HostPort::parse),
        insecure_hosts: section.parsed_list("insecure_hosts", "host or host:port", HostPort::parse),
        allow_private: section.parsed_list("allow_private", "network or address", Network::parse),
        ca_file: section.file("ca_file"),
        credentials: read_credentials(section),
        module_bytes: section.integer("max_module_mib", default.module_bytes >> 20, 1..=64) << 20,
        timeout: section.duration_to_an_hour("fetch_timeout", default.timeout, SHORTER),
        store: cache.map(|base| base.join("modules")),
    };
    let compile = section.section("compile");
    let limits = CompileLimits::default();
    Arc::new(Plugins {
        require_signed: section.boolean("require_signed", false),
        trusted_keys: section.parsed_list("trusted_keys", KEY, key),
        fetch,
        compile: CompileLimits {
            time: compile.duration_to_an_hour("time", limits.time, SHORTER),
            // With less than this the compiler hardly begins; see the default.
            memory_bytes: compile.integer("memory_mib", limits.memory_bytes >> 20, 1536..=65_536)
                << 20,
            ..limits
        },
        cache_dir,
    })
}

/// Parses a minisign key, or reads the file with one.
pub(crate) fn key(text: &str) -> Result<PublicKey, String> {
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
    for (entry, path) in hosts.into_named(&[]) {
        let of = Section::named(entry, path, problems);
        of.required("username", "robot");
        of.required("password_file", "/etc/spandrel/registry-password");
        let username = of.string("username");
        let password = of.parsed("password_file", "path", |path| {
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
