//! Reads the time, and the CPU time of this thread.

use std::time::{Duration, SystemTime};

use rustix::time::{ClockId, clock_gettime};

/// Returns the time in nanoseconds since 1970.
pub(crate) fn now_ns() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    u64::try_from(since.unwrap_or_default().as_nanos()).unwrap_or(u64::MAX)
}

/// Returns the CPU time of the calling thread, in the kernel and in its own code.
pub(crate) fn thread_cpu() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::try_from(time).unwrap_or_default()
}
