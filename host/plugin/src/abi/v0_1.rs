//! The version `wit/v0.1`: the host functions, the exports, and the conversions to the pipeline's
//! types.

use std::time::{Duration, SystemTime};

use spandrel_pipeline::stage::{self, Dispatch, DrainReason};
use tracing::Level;
use wasmtime::component::{HasSelf, Linker};

use crate::metrics::MetricOutcome;
use crate::store::Guest;
use bindings::spandrel::plugin::types;

mod bindings;

pub(crate) use bindings::{Plugin, PluginPre};
pub(crate) use types::{DrainReason as WitDrainReason, State};

/// Makes a linker with the host functions of this version and WASI 0.2.
pub(crate) fn linker(engine: &wasmtime::Engine) -> wasmtime::Result<Linker<Guest>> {
    let mut linker = Linker::new(engine);
    wasmtime_wasi::p2::add_to_linker_async(&mut linker)?;
    bindings::spandrel::plugin::host::add_to_linker::<_, HasSelf<Guest>>(&mut linker, |guest| {
        guest
    })?;
    Ok(linker)
}

impl types::Host for Guest {}

impl bindings::spandrel::plugin::host::Host for Guest {
    fn batch(&mut self) -> wasmtime::Result<Vec<u8>> {
        self.whole_batch()
    }

    fn log(&mut self, level: types::Level, message: String) {
        let level = match level {
            types::Level::Trace => Level::TRACE,
            types::Level::Debug => Level::DEBUG,
            types::Level::Info => Level::INFO,
            types::Level::Warn => Level::WARN,
            types::Level::Error => Level::ERROR,
        };
        self.write_line(level, &message);
    }

    fn now(&mut self) -> u64 {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        nanoseconds(since.unwrap_or_default())
    }

    fn monotonic(&mut self) -> u64 {
        nanoseconds(self.started().elapsed())
    }

    fn random(&mut self) -> u64 {
        rand::random()
    }

    fn count(&mut self, name: String, delta: u64) {
        let outcome = self.metrics().count(&name, delta);
        note(self, outcome, &name);
    }

    fn gauge(&mut self, name: String, value: f64) {
        let outcome = self.metrics().gauge(&name, value);
        note(self, outcome, &name);
    }
}

/// Writes a line about a metric that was refused for the first time.
fn note(guest: &Guest, outcome: MetricOutcome, name: &str) {
    if let MetricOutcome::RefusedFirst(reason) = outcome {
        let line = format!("metric `{name}` refused: {reason}");
        guest.write_line(Level::WARN, &line);
    }
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// Converts a guest's manifest; the bool is true if the guest wants traces.
pub(crate) fn manifest(manifest: types::Manifest) -> (stage::Manifest, bool) {
    let traces = manifest.signals.contains(&types::Signal::Traces);
    let interval = u64::from(manifest.tick_interval_ms);
    let manifest = stage::Manifest {
        name: manifest.name,
        version: manifest.version,
        dispatch: match manifest.dispatch {
            types::Dispatch::Any => Dispatch::Any,
            types::Dispatch::ByTrace => Dispatch::ByTrace,
            types::Dispatch::Single => Dispatch::Single,
        },
        tick_interval: (interval > 0).then(|| Duration::from_millis(interval)),
        state_version: manifest.state_version,
        holds: manifest.holds,
        drop_reasons: manifest.drop_reasons,
    };
    (manifest, traces)
}

impl From<types::Reply> for stage::Reply {
    fn from(reply: types::Reply) -> Self {
        Self {
            verdicts: reply.verdicts,
            edits: reply.edits,
            blob: reply.blob,
            emission: reply.emission.map(Into::into),
            reads: reply.reads.map(Into::into),
        }
    }
}

impl From<types::Reads> for stage::NewReads {
    fn from(reads: types::Reads) -> Self {
        Self {
            fields: reads.fields,
            attributes: reads.attributes,
            whole: reads.whole,
        }
    }
}

impl From<types::Emission> for stage::Emission {
    fn from(emission: types::Emission) -> Self {
        Self {
            released: emission.released,
            edits: emission.edits,
            blob: emission.blob,
            created: emission.created,
        }
    }
}

pub(crate) fn drain_reason(reason: DrainReason) -> WitDrainReason {
    match reason {
        DrainReason::Shutdown => WitDrainReason::Shutdown,
        DrainReason::Pressure => WitDrainReason::Pressure,
        DrainReason::Swap => WitDrainReason::Swap,
    }
}
