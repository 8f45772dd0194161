//! Setup shared by the tests.

use std::path::Path;
use std::sync::{Arc, OnceLock};

use spandrel_pipeline::stage::{Fault, FaultKind, Input, Instance as _};
use spandrel_plugin::{
    Engine, EngineConfig, Generation, Instance, LoadError, LoadRequest, Metrics,
};
use spandrel_supply::{CompileLimits, InstanceLimits};

use crate::guests::guest;

/// Returns the engine of this process. Its cache stays from run to run: guests compile once.
pub(crate) fn engine() -> &'static Engine {
    static ENGINE: OnceLock<Engine> = OnceLock::new();
    ENGINE.get_or_init(|| {
        let config = EngineConfig {
            instances: 64,
            cache: Some(Path::new(env!("CARGO_TARGET_TMPDIR")).join("compiled")),
            ..EngineConfig::default()
        };
        Engine::new(&config).expect("an engine")
    })
}

/// Loads a file as the first generation of the stage `wasm/test`.
pub(crate) fn load(module: &Path) -> LoadRequest<'_> {
    LoadRequest {
        stage: "wasm/test",
        number: 1,
        module: module.into(),
        pinned: None,
        signature_policy: None,
        config: "{}",
        limits: InstanceLimits::default(),
        compile: CompileLimits::default(),
        metrics: Arc::new(Metrics::default()),
    }
}

pub(crate) async fn generation(name: &str) -> Generation {
    generation_within(name, InstanceLimits::default()).await
}

pub(crate) async fn generation_within(name: &str, limits: InstanceLimits) -> Generation {
    let load = LoadRequest {
        limits,
        ..load(guest(name))
    };
    let loaded = Generation::load(engine(), load).await;
    loaded.unwrap_or_else(|error| panic!("{name}: {error:?}"))
}

pub(crate) async fn instance(name: &str) -> Instance {
    generation(name)
        .await
        .instance()
        .await
        .expect("an instance")
}

/// Returns the fault of a guest's first `process`, which must be of this kind.
pub(crate) async fn fault(instance: &mut Instance, kind: FaultKind) -> Fault {
    let fault = instance.process(1, &input(3)).await.expect_err("a fault");
    assert_eq!(fault.kind, kind, "{fault}");
    fault
}

/// Returns the words of a load error and of its causes, without the path to the file.
pub(crate) fn words(error: &LoadError, module: &Path) -> String {
    let mut words = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        words.push_str(": ");
        words.push_str(&error.to_string());
        cause = error.source();
    }
    let directory = format!("{}/", module.parent().expect("a directory").display());
    words.replace(&directory, "")
}

/// Makes a request with this many spans in one scope of one resource.
pub(crate) fn batch(spans: u8) -> Vec<u8> {
    let spans: Vec<u8> = (0..spans)
        .flat_map(|id| field(2, &span(id, "GET /")))
        .collect();
    field(1, &field(2, &spans))
}

/// Makes the same request as the input of an instance.
pub(crate) fn input(spans: u8) -> Input {
    batch(spans).into()
}

/// Makes a span with a name that can carry a mark.
pub(crate) fn span(id: u8, name: &str) -> Vec<u8> {
    [
        field(1, &[id.wrapping_add(1); 16]),
        field(2, &[id.wrapping_add(1); 8]),
        field(5, name.as_bytes()),
    ]
    .concat()
}

/// Encodes a length-delimited protobuf field.
pub(crate) fn field(number: u8, value: &[u8]) -> Vec<u8> {
    let mut bytes = vec![number << 3 | 2];
    let mut length = value.len();
    while length > 0x7f {
        bytes.push(u8::try_from(length & 0x7f).expect("seven bits") | 0x80);
        length >>= 7;
    }
    bytes.push(u8::try_from(length).expect("seven bits"));
    bytes.extend_from_slice(value);
    bytes
}
