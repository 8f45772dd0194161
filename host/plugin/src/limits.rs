//! The parts that one component may have, and the limiter that keeps a store within its memory.

use wasmtime::ResourceLimiter;

/// The core instances of one component. A Rust guest has 3. A component that is composed of others
/// has three or four for each of them, and some toolchains make 40. 256: each costs some KiB of the
/// host.
pub(crate) const CORE_INSTANCES: u32 = 256;
/// The tables of one component. Every second one of the core instances that a toolchain makes for
/// one module has a table.
pub(crate) const TABLES: u32 = CORE_INSTANCES / 2;
/// The elements of one table: indirect functions. The largest toolchains have some 15,000.
pub(crate) const TABLE_ELEMENTS: usize = 20_000;
/// The bytes of one element of a table.
const ELEMENT_BYTES: usize = size_of::<usize>();
/// The linear memories of one component: one for each language runtime or adapter in it. All of
/// them together stay within the stage's limit on memory; each takes 4 GiB of address space.
pub(crate) const MEMORIES: u32 = 8;
/// The bytes that the host keeps for all core instances of one component: their functions, globals
/// and imports. 4 MiB: 16 KiB for each of 256; one large module has some 600 KiB.
pub(crate) const INSTANCE_BYTES: usize = 4 << 20;
/// The handles to WASI resources (streams, pollables) that a guest may have open at a time. A std
/// guest has under ten.
pub(crate) const HANDLES: usize = 256;
/// The random bytes that one WASI call returns: the host makes them while the guest waits.
pub(crate) const RANDOM_BYTES: u64 = 64 << 10;

/// Limits the growth of one store. It remembers a denied growth: if the call then traps, that is
/// the reason.
#[derive(Debug)]
pub(crate) struct Limiter {
    memory_bytes: usize,
    used_bytes: usize,
    table_bytes: usize,
    denied_bytes: Option<usize>,
}

impl Limiter {
    pub(crate) fn new(memory_bytes: usize) -> Self {
        Self {
            memory_bytes,
            used_bytes: 0,
            table_bytes: 0,
            denied_bytes: None,
        }
    }

    /// Forgets a denial: a denial in one call does not explain a fault in the next.
    pub(crate) fn begin_call(&mut self) {
        self.denied_bytes = None;
    }

    /// Returns the total that was asked for and denied in this call.
    pub(crate) fn denied_bytes(&self) -> Option<usize> {
        self.denied_bytes
    }

    pub(crate) fn memory_bytes(&self) -> usize {
        self.memory_bytes
    }

    pub(crate) fn used_bytes(&self) -> usize {
        self.used_bytes
    }

    /// Returns true if memories and tables may have this much together.
    fn grant(&mut self, total: usize) -> bool {
        let fits = total <= self.memory_bytes;
        if !fits {
            self.denied_bytes = Some(total);
        }
        fits
    }
}

impl ResourceLimiter for Limiter {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let total = self
            .used_bytes
            .saturating_sub(current)
            .saturating_add(desired);
        let granted = self.grant(total.saturating_add(self.table_bytes));
        if granted {
            self.used_bytes = total;
        }
        Ok(granted)
    }

    fn table_growing(
        &mut self,
        current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let bytes = |elements: usize| elements.saturating_mul(ELEMENT_BYTES);
        let total = self
            .table_bytes
            .saturating_sub(bytes(current))
            .saturating_add(bytes(desired));
        if desired > TABLE_ELEMENTS || !self.grant(total.saturating_add(self.used_bytes)) {
            return Ok(false);
        }
        self.table_bytes = total;
        Ok(true)
    }

    fn instances(&self) -> usize {
        // A small constant.
        usize::try_from(CORE_INSTANCES).unwrap_or(usize::MAX)
    }

    fn tables(&self) -> usize {
        usize::try_from(TABLES).unwrap_or(usize::MAX)
    }

    fn memories(&self) -> usize {
        usize::try_from(MEMORIES).unwrap_or(usize::MAX)
    }
}
