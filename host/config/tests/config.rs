//! Golden tests of the configuration: `tests/config/good/*.yaml` are accepted, and every
//! `tests/config/bad/*.yaml` is refused with exactly the text of the `.err` file beside it.
//!
//! A good file has the warnings of the `.warn` file beside it.
//!
//! A new case is two files and no Rust. `UPDATE_GOLDEN=1 cargo test -p spandrel-config --test config`
//! rewrites the `.err` and `.warn` files; read the difference before committing it.

#![expect(
    clippy::expect_used,
    reason = "a test ends at the first thing that is not as it should be"
)]

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use spandrel_config::Config;
use spandrel_config::source::Sources;

/// Returns the variables that the files may refer to as `${env:...}`.
fn environment(name: &str) -> Option<String> {
    let value = match name {
        "POD_IP" => "10.1.2.3",
        "QUEUE_SIZE" => "5000",
        "ROUTES" => "[/healthz, /readyz]",
        "EMPTY" => "",
        "TOO_SHORT" => "1us",
        _ => return None,
    };
    Some(value.to_owned())
}

fn cases(folder: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../tests/config")
        .join(folder);
    let mut cases: Vec<PathBuf> = std::fs::read_dir(&folder)
        .expect("the folder of cases is there")
        .map(|entry| entry.expect("the folder can be read").path())
        .filter(|path| path.extension() == Some(OsStr::new("yaml")))
        .collect();
    cases.sort();
    cases
}

/// Returns the message for one file, without its folder, so that it is the same on every machine.
fn message(case: &Path) -> Option<String> {
    let folder = format!("{}/", case.parent().expect("a file has a folder").display());
    let configs = vec![case.display().to_string()];
    let sources = Sources {
        configs,
        sets: Vec::new(),
    };
    let error = Config::load_with(&sources, &environment).err()?;
    Some(format!("{error}\n").replace(&folder, ""))
}

/// Every bad file is refused with all of its problems at once, each with its place, path, problem
/// and remedy: exactly the message in the `.err` file.
#[test]
fn bad_files_have_their_exact_message() {
    let cases = cases("bad");
    assert!(cases.len() >= 25, "only {} cases", cases.len());
    let mut differences = Vec::new();
    for case in &cases {
        let name = case
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let Some(message) = message(case) else {
            differences.push(format!("{name}: was accepted"));
            continue;
        };
        let golden = case.with_extension("err");
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::write(&golden, &message).expect("the golden file can be written");
        }
        let expected = std::fs::read_to_string(&golden).unwrap_or_default();
        if message != expected {
            differences.push(format!("{name}\n--- on file\n{expected}+++ now\n{message}"));
        }
    }
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}

/// No message is left behind by a case that was renamed.
#[test]
fn every_message_belongs_to_a_file() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/config/bad");
    for entry in std::fs::read_dir(folder).expect("the folder of cases is there") {
        let path = entry.expect("the folder can be read").path();
        assert!(
            path.with_extension("yaml").exists(),
            "{} has no case",
            path.display()
        );
    }
}

/// Every good file is accepted.
#[test]
fn good_files_are_accepted() {
    let cases = cases("good");
    assert!(!cases.is_empty());
    let refused: Vec<String> = cases.iter().filter_map(|case| message(case)).collect();
    assert!(refused.is_empty(), "{}", refused.join("\n"));
}

/// Every good file has exactly the warnings in the `.warn` file beside it, and none without that
/// file.
#[test]
fn good_files_have_their_exact_warnings() {
    let mut differences = Vec::new();
    for case in cases("good") {
        let folder = format!("{}/", case.parent().expect("a file has a folder").display());
        let sources = Sources {
            configs: vec![case.display().to_string()],
            sets: Vec::new(),
        };
        let config = Config::load_with(&sources, &environment).expect("it is good");
        let warnings = config.warnings.iter();
        let warnings: String = warnings.map(|warning| format!("{warning}\n")).collect();
        let warnings = warnings.replace(&folder, "");
        let golden = case.with_extension("warn");
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            match warnings.as_str() {
                "" => std::fs::remove_file(&golden).unwrap_or_default(),
                warnings => std::fs::write(&golden, warnings).expect("the file can be written"),
            }
        }
        let expected = std::fs::read_to_string(&golden).unwrap_or_default();
        if warnings != expected {
            let name = case.display();
            differences.push(format!(
                "{name}\n--- on file\n{expected}+++ now\n{warnings}"
            ));
        }
    }
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}

/// The default configuration is a good one.
#[test]
fn the_default_is_accepted() {
    let sources = Sources {
        configs: vec![format!("yaml:{}", spandrel_config::DEFAULT)],
        sets: Vec::new(),
    };
    let config = Config::load_with(&sources, &environment).expect("the default is good");
    assert_eq!(config.service.pipelines.len(), 3);
    assert!(config.warnings.is_empty());
}

/// A stage whose bypass should fail a readiness that no extension serves is accepted with a
/// warning.
#[test]
fn readiness_without_an_answer_is_warned_of() {
    let config = |more: &str| {
        let text = format!(
            "receivers: {{ otlp: {{ protocols: {{ grpc: {{}} }} }} }}
processors: {{ wasm/tag: {{ module: tag.wasm, bypass_fails_readiness: true }} }}
exporters: {{ debug: {{}} }}
extensions: {{ health_check: {{}} }}
service: {{ {more} pipelines: {{ traces: {{ receivers: [otlp], processors: [wasm/tag], exporters: [debug] }} }} }}"
        );
        let sources = Sources {
            configs: vec![format!("yaml:{text}")],
            sets: Vec::new(),
        };
        Config::load_with(&sources, &environment).expect("good")
    };
    let warned = config("").warnings.into_iter().map(|warning| warning.path);
    let warned: Vec<String> = warned.collect();
    // The other warning is about the extension that nobody names.
    assert_eq!(
        warned,
        [
            "processors::wasm/tag::bypass_fails_readiness",
            "extensions::health_check"
        ]
    );
    assert!(config("extensions: [health_check],").warnings.is_empty());
}

/// A queue that sets `on_full: drop`, in a pipeline that never drops, causes a warning. The default
/// does not.
#[test]
fn a_drop_without_effect_is_a_warning() {
    for (keys, on_full, warned) in [
        ("ack_on: export", "on_full: drop", true),
        ("ack_on: export", "on_full: refuse", false),
        ("ack_on: export", "queue_size: 10", false),
        ("ack_on: queue", "on_full: drop", false),
        ("durability: { dir: /tmp }", "on_full: drop", true),
    ] {
        let yaml = format!(
            "receivers: {{ otlp: {{ protocols: {{ grpc: {{}} }} }} }}\n\
             exporters: {{ otlp_grpc: {{ endpoint: http://a:1, sending_queue: {{ {on_full} }} }} }}\n\
             service: {{ pipelines: {{ traces: {{ receivers: [otlp], exporters: [otlp_grpc], {keys} }} }} }}\n"
        );
        let sources = Sources {
            configs: vec![format!("yaml:{yaml}")],
            sets: Vec::new(),
        };
        let config = Config::load_with(&sources, &environment).expect("it is good");
        let found = config.warnings.iter();
        let found = found.filter(|warning| warning.what.contains("has no effect"));
        assert_eq!(found.count(), usize::from(warned), "{keys} {on_full}");
    }
}
