//! What one instance may use.

use std::time::Duration;

use wasmtime::ResourceLimiter;

/// The limits of a stage. Each call and each byte of a guest is under one of these.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Linear memory of one instance. 64 MiB: a guest needs about four times its largest batch
    /// (4 MiB by default), and holds names of items, not their bytes.
    pub memory_bytes: usize,
    /// Time that `process` and `tick` may run. 100 ms: some 30 times what a batch of 8192 spans
    /// takes, and short enough that a sender's own timeout never sees it.
    pub call_deadline: Duration,
    /// Time to instantiate and `configure`. 1 s: tables and patterns are compiled here, off the
    /// data path.
    pub configure_deadline: Duration,
    /// The most that `drain` may run, whatever the caller offers. 10 s: inside the 25 s of the
    /// collector's own drain.
    pub drain_deadline: Duration,
    /// Time for `snapshot` and for `restore`. 1 s: a shard stands still meanwhile.
    pub state_deadline: Duration,
    /// The most that one reply, emission or snapshot may bring to the host. 16 MiB: four times the
    /// largest batch by default; the host allocates this much on a guest's word.
    pub reply_bytes: usize,
    /// Log lines a second, of all instances of a stage together. 100: a line a batch under normal
    /// load, and never the reason for a full disk.
    pub log_lines_per_second: u32,
    /// The longest log line; the rest of it is cut. 4096: what log stores commonly take as one
    /// line.
    pub log_line_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            memory_bytes: 64 << 20,
            call_deadline: Duration::from_millis(100),
            configure_deadline: Duration::from_secs(1),
            drain_deadline: Duration::from_secs(10),
            state_deadline: Duration::from_secs(1),
            reply_bytes: 16 << 20,
            log_lines_per_second: 100,
            log_line_bytes: 4096,
        }
    }
}

/// Core modules of one component. Rust guests have 3, the largest toolchains (Python) under 20.
pub(crate) const CORE_INSTANCES: u32 = 24;
/// Tables of one component: one for each core module at most.
pub(crate) const TABLES: u32 = 24;
/// Elements of one table: indirect functions. The largest toolchains have some 15,000.
pub(crate) const TABLE_ELEMENTS: usize = 20_000;
/// Memories of one component: its own, and one of an adapter that some toolchains link.
pub(crate) const MEMORIES: u32 = 2;
/// Handles to WASI resources (streams, pollables) that a guest has open at a time. A std guest has
/// under ten.
pub(crate) const HANDLES: usize = 256;
/// Random bytes that one WASI call returns: the host makes them while the guest waits.
pub(crate) const RANDOM_BYTES: u64 = 64 << 10;

/// Watches one store. A denied growth is remembered: when the call then traps, that is why.
#[derive(Debug)]
pub(crate) struct Limiter {
    memory_bytes: usize,
    used_bytes: usize,
    denied_bytes: Option<usize>,
}

impl Limiter {
    pub(crate) fn new(memory_bytes: usize) -> Self {
        Self {
            memory_bytes,
            used_bytes: 0,
            denied_bytes: None,
        }
    }

    /// Forgets a denial: a guest that lived through one is not judged by it in its next call.
    pub(crate) fn begin_call(&mut self) {
        self.denied_bytes = None;
    }

    /// The total that was asked for and denied in this call.
    pub(crate) fn denied_bytes(&self) -> Option<usize> {
        self.denied_bytes
    }

    pub(crate) fn memory_bytes(&self) -> usize {
        self.memory_bytes
    }

    pub(crate) fn used_bytes(&self) -> usize {
        self.used_bytes
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
        if total > self.memory_bytes {
            self.denied_bytes = Some(total);
            return Ok(false);
        }
        self.used_bytes = total;
        Ok(true)
    }

    fn table_growing(
        &mut self,
        _current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        Ok(desired <= TABLE_ELEMENTS)
    }

    fn instances(&self) -> usize {
        // `CORE_INSTANCES` is a small constant.
        usize::try_from(CORE_INSTANCES).unwrap_or(usize::MAX)
    }

    fn tables(&self) -> usize {
        usize::try_from(TABLES).unwrap_or(usize::MAX)
    }

    fn memories(&self) -> usize {
        usize::try_from(MEMORIES).unwrap_or(usize::MAX)
    }
}
