//! The limits within which a plugin is compiled and runs.

use std::time::Duration;

/// The shortest deadline that can be kept: the clock that ends calls ticks this often, and a call
/// ends at the first tick after its deadline. 5 ms are 5 % of the default deadline. A clock that
/// ticked each millisecond took 1.3 % of the CPU time of a collector under load.
pub const SHORTEST_DEADLINE: Duration = Duration::from_millis(5);

/// The limits of each instance of a stage. Each call and each byte of a guest is under one of these.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InstanceLimits {
    /// The bytes of linear memories and tables of one instance, all together. 64 MiB: a guest needs
    /// about four times its largest batch (4 MiB by default), and holds names of items, not their
    /// bytes.
    pub memory_bytes: usize,
    /// The time that `process` and `tick` may run. 100 ms: some 30 times the time for a batch of
    /// 8192 spans, and short enough that a sender's own timeout never sees it.
    pub call_deadline: Duration,
    /// The time to instantiate and `configure`. 1 s: tables and patterns are compiled here, off the
    /// data path.
    pub configure_deadline: Duration,
    /// The longest time that `drain` may run, even if the caller offers more. 10 s: inside the 25 s
    /// of the collector's own drain.
    pub drain_deadline: Duration,
    /// The time for `snapshot` and for `restore`. 1 s: a shard stands still meanwhile.
    pub state_deadline: Duration,
    /// The most bytes that one reply, emission or snapshot may bring to the host. 16 MiB: four
    /// times the largest batch by default; the host allocates this much because a guest says so.
    pub reply_bytes: usize,
    /// The log lines per second, of all instances of a stage together. 100: one line for each batch
    /// under normal load, and never the reason for a full disk.
    pub log_lines_per_second: u32,
    /// The longest log line; the rest of it is cut. 4096: log stores commonly take this much as one
    /// line.
    pub log_line_bytes: usize,
}

impl Default for InstanceLimits {
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

/// The limits on compiling a plugin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CompileLimits {
    /// The time to read and compile. 60 s: a plugin of 260 KiB takes half a second on one core, so
    /// this is enough for one with an interpreter inside, or in the background of a machine whose
    /// cores are all taken; and an operator who waits for a swap still waits for its answer.
    pub time: Duration,
    /// True if other work of the process goes first: compiles at a low priority, on half the cores.
    pub background: bool,
    /// The address space of the process that compiles. 2 GiB: it has 1.2 GiB before it begins (the
    /// program, and the memory that its allocator sets aside), and a plugin of 260 KiB is compiled
    /// within that; 14 MiB with nothing but two endless functions take more than 2 GiB.
    pub memory_bytes: u64,
}

impl Default for CompileLimits {
    fn default() -> Self {
        Self {
            time: Duration::from_secs(60),
            background: false,
            memory_bytes: 2 << 30,
        }
    }
}
