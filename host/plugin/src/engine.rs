//! The one wasmtime engine of the process: the pool of guests' memory, the compiler and its cache,
//! and what each version of the contract is linked with.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use spandrel_supply::Digest;
use wasmtime::component::Linker;
use wasmtime::{Config, InstanceAllocationStrategy, PoolingAllocationConfig};

use crate::cache::CodeCache;
use crate::codegen::compatibility;
use crate::compile::child::Program;
use crate::compile::{Compiler, CompilerLocation};
use crate::store::Guest;
use crate::{abi, clock, codegen, limits};

/// The memory of an instance that stays resident in its slot when the instance is gone, so that a
/// replacement after a fault does not pay for page faults. 4 MiB is the memory that a guest touches
/// at 512 spans a batch.
const KEEP_RESIDENT_BYTES: usize = 4 << 20;

/// The address space of a linear memory, never more than a 32-bit guest can use. Reserving all of
/// it lets the compiler leave out bounds checks; a stage's own limit is far below.
const MEMORY_SPACE_BYTES: usize = 4 << 30;

/// The number of linear memories in the pool for each instance: the first value that fits into the
/// address space. A component may have more (`limits`), but half of the places of a stage are
/// reserved for a swap. Small machines have 512 GiB of address space for a process, and there may
/// be limits on it.
const MEMORIES_EACH: [u32; 3] = [4, 2, 1];

/// The number of tables in the pool for each instance; for the same reason fewer than a component
/// may have. Each takes 160 KB, which the system counts as memory where it does not overcommit.
const TABLES_EACH: u32 = 32;

/// The program's settings for the engine.
#[derive(Clone, Debug)]
pub struct EngineConfig {
    /// The number of instances that live at a time, of all stages: twice (stages x shards), because
    /// a swap builds the new generation beside the old one, and one more for each load. Each
    /// reserves 16 GiB of address space (not memory) if there is that much; a process has room for
    /// some 7,000.
    pub instances: u32,
    /// The directory for compiled code; `None` to compile at every load.
    pub cache: Option<PathBuf>,
    /// The place where the compiler runs.
    pub compiler: CompilerLocation,
}

impl Default for EngineConfig {
    fn default() -> Self {
        Self {
            instances: 128,
            cache: crate::cache::default_directory(),
            compiler: CompilerLocation::InProcess,
        }
    }
}

/// The reason why there is no engine: the machine does not offer the resources that it needs.
#[derive(Debug, thiserror::Error)]
#[error(
    "cannot start the WebAssembly engine for {instances} instances: check the limits on address space and threads"
)]
pub struct EngineError {
    instances: u32,
    #[source]
    source: Box<dyn std::error::Error + Send + Sync>,
}

/// The engine; a clone is the same engine. Its clock stops when the last clone is dropped.
#[derive(Clone)]
pub struct Engine {
    parts: Arc<EngineParts>,
}

struct EngineParts {
    wasmtime: wasmtime::Engine,
    cache: Option<CodeCache>,
    compiler: Compiler,
    location: CompilerLocation,
    compatibility: Digest,
    v0_1: Linker<Guest>,
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine")
            .field("cache", &self.parts.cache)
            .finish_non_exhaustive()
    }
}

impl Engine {
    /// Makes the engine and starts its clock.
    pub fn new(config: &EngineConfig) -> Result<Self, EngineError> {
        let failed = |source| EngineError {
            instances: config.instances,
            source,
        };
        let wasmtime = start(config).map_err(|error| failed(error.into()))?;
        let compatibility = compatibility(&wasmtime);
        let v0_1 = abi::v0_1::linker(&wasmtime).map_err(|error| failed(error.into()))?;
        clock::start(&wasmtime).map_err(|error| failed(error.into()))?;
        let cache = config.cache.as_deref().and_then(|directory| {
            CodeCache::open(directory, compatibility)
                .inspect_err(|error| {
                    tracing::warn!(
                        directory = %directory.display(),
                        error = error as &dyn std::error::Error,
                        "no cache of compiled plugins"
                    );
                })
                .ok()
        });
        Ok(Self {
            parts: Arc::new(EngineParts {
                wasmtime,
                cache,
                compiler: Compiler::new(),
                location: config.compiler.clone(),
                compatibility,
                v0_1,
            }),
        })
    }

    pub(crate) fn wasmtime(&self) -> &wasmtime::Engine {
        &self.parts.wasmtime
    }

    pub(crate) fn cache(&self) -> Option<&CodeCache> {
        self.parts.cache.as_ref()
    }

    pub(crate) fn compiler(&self) -> &Compiler {
        &self.parts.compiler
    }

    /// Returns the process to compile in; `None` to compile here.
    pub(crate) fn program(&self) -> Option<Program<'_>> {
        match &self.parts.location {
            CompilerLocation::InProcess => None,
            CompilerLocation::Child { program, arguments } => Some(Program {
                path: program,
                arguments,
                engine: self.parts.compatibility,
            }),
        }
    }

    pub(crate) fn v0_1(&self) -> &Linker<Guest> {
        &self.parts.v0_1
    }
}

/// Makes the engine with the largest pool of memories that fits.
fn start(config: &EngineConfig) -> wasmtime::Result<wasmtime::Engine> {
    let [most, fewer @ ..] = MEMORIES_EACH;
    let mut started = wasmtime::Engine::new(&settings(config, most));
    for each in fewer {
        if started.is_ok() {
            break;
        }
        started = wasmtime::Engine::new(&settings(config, each));
        if started.is_ok() {
            tracing::info!(
                memories = config.instances.saturating_mul(each),
                "little address space, fewer places for memories of plugins"
            );
        }
    }
    started
}

fn settings(config: &EngineConfig, memories_each: u32) -> Config {
    let mut settings = codegen::settings();
    let pool = InstanceAllocationStrategy::Pooling(pool(config.instances, memories_each));
    settings.allocation_strategy(pool);
    settings
}

/// Returns the pool: slots for `instances` components. An instance takes only address space before
/// it is used.
fn pool(instances: u32, memories_each: u32) -> PoolingAllocationConfig {
    let at_least = |one: u32, each: u32| instances.saturating_mul(each).max(one.saturating_mul(2));
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(instances)
        .total_core_instances(instances.saturating_mul(limits::CORE_INSTANCES))
        .total_memories(at_least(limits::MEMORIES, memories_each))
        .total_tables(at_least(limits::TABLES, TABLES_EACH))
        // A store runs one call at a time, on one stack.
        .total_stacks(instances)
        .max_core_instances_per_component(limits::CORE_INSTANCES)
        .max_component_instance_size(limits::INSTANCE_BYTES)
        .max_memories_per_component(limits::MEMORIES)
        .max_memories_per_module(limits::MEMORIES)
        .max_tables_per_component(limits::TABLES)
        .max_tables_per_module(limits::TABLES)
        .table_elements(limits::TABLE_ELEMENTS)
        .max_memory_size(MEMORY_SPACE_BYTES)
        .linear_memory_keep_resident(KEEP_RESIDENT_BYTES)
        // A slot that was used before is used again first: otherwise every generation gets new
        // slots, and the memory of the retired ones stays resident.
        .max_unused_warm_slots(0);
    pool
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Code that was compiled without a pool runs in one: both engines have the same compatibility.
    #[test]
    fn code_of_the_compiling_engine_fits() {
        let config = EngineConfig {
            instances: 2,
            ..EngineConfig::default()
        };
        let running = settings(&config, 4);
        let running = wasmtime::Engine::new(&running).expect("an engine");
        let compiling = codegen::compiling_engine().expect("an engine");
        assert_eq!(compatibility(&running), compatibility(&compiling));
    }
}
