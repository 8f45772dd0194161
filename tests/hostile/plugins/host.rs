//! The real host, and the fate of a plugin in it.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use spandrel_pipeline::stage::{Input, ProbeError, probe};
use spandrel_plugin::{Engine, EngineConfig, Generation, LoadError, LoadRequest, Metrics};
use spandrel_supply::{ArtifactError, ArtifactSource, CompileLimits, InstanceLimits};
use spandrel_tests::until::say;
use tokio::time::{Instant, timeout};

/// The time after which the host hangs. It is far above the deadlines of all calls together plus
/// the compile time on a busy machine.
const HANG: Duration = Duration::from_secs(60);

/// The point that a plugin reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// It is no component, or one that does not validate.
    Invalid,
    /// Its imports or exports are not the contract's.
    Contract,
    /// It does not fit a place in the pool.
    NotInstantiated,
    /// It was instantiated, and failed in its start function or in `configure`.
    FaultedAtStart,
    /// It was configured, and answered with an invalid manifest or a refusal.
    Refused,
    /// It was called with a batch, and failed, or gave an invalid answer.
    Faulted,
    /// It was called with an empty batch and a real one, and answered.
    Answered,
}

impl Fate {
    const ALL: [(Self, &str); 7] = [
        (Self::Invalid, "refused: not valid"),
        (Self::Contract, "refused: not of the contract"),
        (Self::NotInstantiated, "refused: no place for it"),
        (Self::FaultedAtStart, "instantiated, faulted at the start"),
        (Self::Refused, "configured, refused"),
        (Self::Faulted, "called, faulted"),
        (Self::Answered, "called, answered"),
    ];
}

/// The number of plugins with each fate.
#[derive(Debug)]
pub(super) struct Tally {
    counts: [u64; Fate::ALL.len()],
    began: Instant,
}

impl Default for Tally {
    fn default() -> Self {
        Self {
            counts: [0; Fate::ALL.len()],
            began: Instant::now(),
        }
    }
}

impl Tally {
    pub(super) fn add(&mut self, fate: Fate) {
        self.counts[fate as usize] += 1;
    }

    pub(super) fn of(&self, fate: Fate) -> u64 {
        self.counts[fate as usize]
    }

    /// Prints the progress of a long form at intervals.
    pub(super) fn progress(&self, what: &str, done: u64, of: u64) {
        if done.is_multiple_of(10_000) {
            let elapsed = self.began.elapsed().as_secs();
            say(&format!("{what}: {done} of {of}, {elapsed} s\n{self}"));
        }
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (fate, words) in Fate::ALL {
            writeln!(f, "  {:>9} {words}", self.of(fate))?;
        }
        Ok(())
    }
}

/// The collector's engine, with short deadlines.
pub(super) struct Host {
    engine: Engine,
    sample: Input,
}

impl Host {
    pub(super) fn new() -> Self {
        let config = EngineConfig {
            instances: 8,
            cache: None,
            ..EngineConfig::default()
        };
        let span = [
            &[0x0a, 16][..],
            &[7; 16],
            &[0x12, 8],
            &[9; 8],
            &[0x2a, 3],
            b"GET",
        ]
        .concat();
        let field = |number: u8, inside: &[u8]| {
            let length = u8::try_from(inside.len()).unwrap();
            assert!(length < 0x80);
            [&[number << 3 | 2, length], inside].concat()
        };
        let spans = field(2, &span).repeat(3);
        Self {
            engine: Engine::new(&config).unwrap(),
            sample: field(1, &field(2, &spans)).into(),
        }
    }

    /// Returns the fate of a plugin. If the host panics or hangs, the plugin's bytes are written to
    /// a file.
    pub(super) async fn run(&self, index: u64, bytes: &[u8]) -> Fate {
        let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("hostile-{index}.wasm"));
        let save = Save { path, bytes };
        let fate = timeout(HANG, self.fate(bytes)).await;
        let fate = fate.unwrap_or_else(|_| panic!("number {index} hangs"));
        std::mem::forget(save);
        fate
    }

    pub(super) async fn fate(&self, bytes: &[u8]) -> Fate {
        let load = LoadRequest {
            stage: "wasm/hostile",
            number: 1,
            module: ArtifactSource::Bytes {
                name: "hostile",
                bytes: Bytes::copy_from_slice(bytes),
            },
            pinned: None,
            signature_policy: None,
            config: "{}",
            limits: InstanceLimits {
                memory_bytes: 16 << 20,
                call_deadline: Duration::from_millis(10),
                configure_deadline: Duration::from_millis(10),
                ..InstanceLimits::default()
            },
            compile: CompileLimits::default(),
            metrics: Arc::new(Metrics::default()),
        };
        let generation = match Generation::load(&self.engine, load).await {
            Ok(generation) => generation,
            Err(error) => return of_refusal(&error),
        };
        let limits = spandrel_wire::Limits::default();
        let probed = probe(&generation, None, Some(self.sample.clone()), &limits).await;
        match probed {
            Ok(_) => Fate::Answered,
            Err(ProbeError::Failed { .. }) => Fate::Faulted,
            Err(ProbeError::Instantiate(_)) => Fate::FaultedAtStart,
        }
    }
}

fn of_refusal(error: &LoadError) -> Fate {
    match error {
        LoadError::Artifact(
            ArtifactError::NotAComponent { .. } | ArtifactError::CoreModule { .. },
        )
        | LoadError::Compile { .. } => Fate::Invalid,
        LoadError::UnknownAbi { .. }
        | LoadError::Imports { .. }
        | LoadError::Exports { .. }
        | LoadError::Link { .. } => Fate::Contract,
        LoadError::Instantiate { .. } | LoadError::TooMuch { .. } | LoadError::Unfit { .. } => {
            Fate::NotInstantiated
        }
        LoadError::Faulted { .. } => Fate::FaultedAtStart,
        LoadError::Configure { .. } | LoadError::Manifest { .. } => Fate::Refused,
        other => panic!("not for what is in it: {other}"),
    }
}

/// Writes the plugin to a file when it is dropped, which happens only in a panic.
struct Save<'a> {
    path: PathBuf,
    bytes: &'a [u8],
}

impl Drop for Save<'_> {
    fn drop(&mut self) {
        drop(std::fs::write(&self.path, self.bytes));
        say(&format!("it is in {}\n", self.path.display()));
    }
}
