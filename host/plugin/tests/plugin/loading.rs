//! Tests of loading: a plugin that cannot run is refused when it is loaded, with the remedy in the
//! message.

use std::path::Path;
use std::time::Duration;

use spandrel_plugin::{Generation, LoadRequest};
use spandrel_supply::{Digest, InstanceLimits};

use crate::guests::guest;
use crate::setup::{engine, generation, load, words};

async fn refusal(load: LoadRequest<'_>) -> String {
    let module = load.module.name();
    let error = Generation::load(engine(), load).await.expect_err("refused");
    words(&error, Path::new(&module))
}

async fn guest_refusal(name: &str) -> String {
    refusal(load(guest(name))).await
}

/// A component that imports more than a plugin gets is refused, with all such imports in the
/// message.
#[tokio::test]
async fn foreign_imports_are_listed() {
    assert_eq!(
        guest_refusal("import_unknown").await,
        "plugin `import_unknown.wasm` imports what this collector does not offer: \
         acme:files/disk@1.0.0, acme:files/net@1.0.0. Plugins get spandrel:plugin/host@0.1 and \
         WASI 0.2 without files, sockets, environment or arguments"
    );
}

/// The error for a plugin for another version of the contract names both versions.
#[tokio::test]
async fn another_version_is_named() {
    assert_eq!(
        guest_refusal("other_version").await,
        "plugin `other_version.wasm` is built for spandrel:plugin@0.9.0, this collector knows \
         0.1: build it with the SDK of one of these versions"
    );
}

/// The error for a component of another kind names the exports that it lacks.
#[tokio::test]
async fn missing_exports_are_listed() {
    assert_eq!(
        guest_refusal("missing_export").await,
        "plugin `missing_export.wasm` does not export spandrel:plugin/lifecycle@0.1, \
         spandrel:plugin/traces@0.1: implement the `plugin` world, or use `export!` of the SDK"
    );
}

/// The plugin's own words about its config reach the operator: one line, bounded.
#[tokio::test]
async fn a_refused_config_is_told_in_the_plugins_words() {
    let load = LoadRequest {
        config: r#"{"route":"/healthz"}"#,
        ..load(guest("refuse_config"))
    };
    let words = refusal(load).await;
    let start = "plugin `refuse_config.wasm` refused its config: \
                 unknown field `route` in {\"route\":\"/healthz\"}\\nexpected `routes`  !!!";
    assert!(words.starts_with(start), "{words}");
    assert!(words.ends_with("!!! [cut at 512 of 5065 bytes]"), "{words}");
}

/// A plugin that loops while it is configured is stopped, and the load fails.
#[tokio::test]
async fn a_loop_in_configure_is_stopped() {
    let load = LoadRequest {
        limits: InstanceLimits {
            configure_deadline: Duration::from_millis(50),
            ..InstanceLimits::default()
        },
        ..load(guest("loop_in_configure"))
    };
    assert_eq!(
        refusal(load).await,
        "plugin `loop_in_configure.wasm` failed in `configure`: \
         deadline: ran past its deadline of 50 ms"
    );
}

/// Memory too small for the guest's own data is a fault of the load, with the numbers.
#[tokio::test]
async fn memory_that_is_too_small_is_told() {
    let load = LoadRequest {
        limits: InstanceLimits {
            memory_bytes: 1 << 20,
            ..InstanceLimits::default()
        },
        ..load(guest("unchanged"))
    };
    let words = refusal(load).await;
    assert!(
        words.starts_with(
            "plugin `unchanged.wasm` failed in `configure`: \
             memory: asked for "
        ) && words.ends_with("KiB of memory, the limit is 1024 KiB"),
        "{words}"
    );
}

/// A manifest that breaks a rule is refused with the rule.
#[tokio::test]
async fn a_bad_manifest_is_refused() {
    assert_eq!(
        guest_refusal("bad_manifest").await,
        "plugin `bad_manifest.wasm` has a bad manifest: 300 drop reasons are too many: at most 250"
    );
}

/// A plugin whose manifest changes makes no further instance: drops would be counted wrongly.
#[tokio::test]
async fn a_changing_manifest_makes_no_instance() {
    let generation = generation("changing_manifest").await;
    let error = generation.instance().await.expect_err("another manifest");
    assert_eq!(
        error.to_string(),
        "the plugin gave another manifest than before"
    );
}

/// A file that does not exist is named, with the system's reason.
#[tokio::test]
async fn a_missing_file_is_named() {
    assert_eq!(
        refusal(load(Path::new("./nowhere/p.wasm"))).await,
        "cannot read plugin `p.wasm`: check the path and its permissions: \
         No such file or directory (os error 2)"
    );
}

/// A component that is damaged inside does not compile, and the error names the place.
#[tokio::test]
async fn a_damaged_component_does_not_compile() {
    let directory = tempfile::tempdir().expect("a directory");
    let module = directory.path().join("damaged.wasm");
    let mut bytes = std::fs::read(guest("unchanged")).expect("read");
    bytes.truncate(bytes.len() / 2);
    std::fs::write(&module, bytes).expect("written");
    let words = refusal(load(&module)).await;
    assert!(
        words.starts_with(
            "cannot compile plugin `damaged.wasm`: the file is damaged or uses a feature that is off: "
        ),
        "{words}"
    );
}

/// A file that is not the pinned one is refused before it is compiled.
#[tokio::test]
async fn a_pinned_digest_is_checked() {
    let module = guest("unchanged");
    let bytes = std::fs::read(module).expect("read");
    let pinned = LoadRequest {
        pinned: Some(Digest::of(&bytes)),
        ..load(module)
    };
    assert!(Generation::load(engine(), pinned).await.is_ok());
    let other = LoadRequest {
        pinned: Some(Digest::from([0xab; 32])),
        ..load(module)
    };
    assert_eq!(
        refusal(other).await,
        format!(
            "plugin `unchanged.wasm` has sha256 {}, the config pins {}: \
             deploy the pinned file, or change `module.sha256`",
            Digest::of(&bytes),
            "ab".repeat(32)
        )
    );
}

/// The same bytes and config are the same generation by digest; a change to either makes another.
#[tokio::test]
async fn identity_is_bytes_and_config() {
    let digest = async |name: &str, config: &str| {
        let load = LoadRequest {
            config,
            ..load(guest(name))
        };
        let generation = Generation::load(engine(), load).await.expect("loaded");
        generation.digest()
    };
    let first = digest("unchanged", "{}").await;
    assert_eq!(digest("unchanged", "{}").await, first);
    assert_ne!(digest("unchanged", r#"{"a":1}"#).await, first);
    assert_ne!(digest("chatty", "{}").await, first);
}
