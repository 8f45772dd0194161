//! Tests of compiling: a plugin for a swap is compiled beside the data path, from a file or from
//! memory.

use std::time::Duration;

use spandrel_plugin::{CodeOrigin, Engine, EngineConfig, Generation, GenerationId, LoadRequest};
use spandrel_supply::{ArtifactSource, CompileLimits, Digest};

use crate::guests::guest;
use crate::setup::{engine, load, words};

/// Makes an engine that compiles each time.
fn engine_without_cache(instances: u32) -> Engine {
    let config = EngineConfig {
        instances,
        cache: None,
        ..EngineConfig::default()
    };
    Engine::new(&config).expect("an engine")
}

/// The compiler's work stays on the threads made for it: after a plugin was compiled, at either
/// priority, the process's shared pool still does not exist.
#[tokio::test]
async fn compiling_takes_no_thread_of_others() {
    let engine = engine_without_cache(1);
    for background in [false, true] {
        let load = LoadRequest {
            compile: CompileLimits {
                background,
                ..CompileLimits::default()
            },
            ..load(guest("chatty"))
        };
        let generation = Generation::load(&engine, load).await.expect("loaded");
        assert!(matches!(generation.code(), CodeOrigin::Compiled { .. }));
    }
    // This fails if the shared pool exists already. No other test uses it.
    rayon::ThreadPoolBuilder::new()
        .num_threads(1)
        .build_global()
        .expect("nobody used the shared pool");
}

/// A plugin that does not compile in time is refused, and the error names the time that it had.
#[tokio::test]
async fn compiling_has_a_time() {
    let engine = engine_without_cache(1);
    let load = LoadRequest {
        compile: CompileLimits {
            time: Duration::from_millis(1),
            background: true,
            ..CompileLimits::default()
        },
        ..load(guest("chatty"))
    };
    let error = Generation::load(&engine, load).await.expect_err("too slow");
    assert_eq!(
        words(&error, guest("chatty")),
        "compiling plugin `chatty.wasm` took longer than 1 ms and still goes on: no other plugin \
         is compiled before it ends; build a smaller plugin, or allow more time"
    );
}

/// An upload makes the same generation as a file with its bytes.
#[tokio::test]
async fn an_upload_is_the_same_generation_as_a_file() {
    let bytes = std::fs::read(guest("unchanged")).expect("read");
    let file = Generation::load(engine(), load(guest("unchanged"))).await;
    let file = file.expect("loaded");
    let upload = LoadRequest {
        module: ArtifactSource::Bytes {
            name: "upload by ops",
            bytes: bytes.clone().into(),
        },
        number: 7,
        ..load(guest("unchanged"))
    };
    let upload = Generation::load(engine(), upload).await.expect("loaded");
    assert_eq!(upload.identity(), file.identity());
    assert_eq!(
        upload.identity(),
        GenerationId::new(Digest::of(&bytes), "{}")
    );
    assert_eq!(upload.digest(), file.digest());
    assert_eq!(upload.module_digest(), Digest::of(&bytes));
    assert_eq!(upload.module_bytes_len(), bytes.len());
    assert_eq!(upload.number(), 7);
    assert_eq!(upload.code(), CodeOrigin::Cached);
}

/// Half of an upload does not compile, and the error has the upload's name.
#[tokio::test]
async fn half_an_upload_is_told_by_its_name() {
    let mut bytes = std::fs::read(guest("unchanged")).expect("read");
    bytes.truncate(bytes.len() / 2);
    let half = LoadRequest {
        module: ArtifactSource::Bytes {
            name: "upload by ops",
            bytes: bytes.into(),
        },
        ..load(guest("unchanged"))
    };
    let error = Generation::load(engine(), half).await.expect_err("damaged");
    let words = words(&error, guest("unchanged"));
    assert!(
        words.starts_with(
            "cannot compile plugin `upload by ops`: the file is damaged or uses a feature that is \
             off: "
        ) && words.contains("out of bounds"),
        "{words}"
    );
}

/// If every place for an instance is taken, a load says so and names the remedy; once a place is
/// free again, it works.
#[tokio::test]
async fn a_full_pool_is_told() {
    let engine = engine_without_cache(2);
    let load = || load(guest("unchanged"));
    let generation = Generation::load(&engine, load()).await.expect("loaded");
    let first = generation.instance().await.expect("a first");
    let _second = generation.instance().await.expect("a second");
    let hint = "all places for instances of this process are taken; end a canary or shadow, wait \
                until what was retired is gone, or run fewer shards";
    let error = generation.instance().await.expect_err("no third");
    assert_eq!(
        error.to_string(),
        format!("cannot instantiate the plugin: {hint}")
    );
    let error = Generation::load(&engine, load()).await.expect_err("full");
    let words = words(&error, guest("unchanged"));
    assert!(
        words.starts_with(&format!(
            "cannot instantiate plugin `unchanged.wasm`: {hint}: "
        )),
        "{words}"
    );
    drop(first);
    Generation::load(&engine, load()).await.expect("room again");
}
