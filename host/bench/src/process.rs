//! The cost of a process, by the kernel's account.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// The CPU time of a process and its children since their start.
#[derive(Clone, Debug, Default)]
pub(crate) struct Cpu {
    user: Duration,
    system: Duration,
    /// CPU time by thread, to the nanosecond; only of threads that live.
    threads: BTreeMap<u32, u64>,
}

/// The CPU time between two readings.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct CpuTime {
    pub(crate) total: Duration,
    pub(crate) user: Duration,
    pub(crate) system: Duration,
}

/// The error of the accounts of user and system time: they move in ticks, mostly of 10 ms, each
/// rounded on its own.
const TICKS_OFF: Duration = Duration::from_millis(40);

impl Cpu {
    /// Reads the CPU time of a process and all that it started.
    pub(crate) fn of(pid: u32) -> Option<Self> {
        let mut cpu = Self::default();
        let ticks = rustix::param::clock_ticks_per_second().max(1);
        let time = |count: u64| Duration::from_nanos(count.saturating_mul(1_000_000_000 / ticks));
        let family = family(pid);
        for member in &family {
            let Some(stat) = Stat::of(*member) else {
                continue;
            };
            cpu.user += time(stat.user_ticks);
            cpu.system += time(stat.system_ticks);
            cpu.threads.extend(threads(*member));
        }
        (!family.is_empty()).then_some(cpu)
    }

    /// Returns the CPU time since an earlier reading. Threads report it to the nanosecond, but a
    /// thread that ended between the two is only in the process' own account: if the two differ,
    /// the process' account counts.
    pub(crate) fn since(&self, earlier: &Self) -> CpuTime {
        let user = self.user.saturating_sub(earlier.user);
        let system = self.system.saturating_sub(earlier.system);
        let by_ticks = user + system;
        let by_threads = self.threads.iter().map(|(thread, now)| {
            let before = earlier.threads.get(thread).copied().unwrap_or(0);
            Duration::from_nanos(now.saturating_sub(before))
        });
        let by_threads: Duration = by_threads.sum();
        let total = if by_threads.abs_diff(by_ticks) <= TICKS_OFF {
            by_threads
        } else {
            by_ticks
        };
        CpuTime {
            total,
            user,
            system,
        }
    }
}

/// Returns the CPU time of the calling thread, in the kernel and in its own code.
pub(crate) fn thread_cpu() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::try_from(time).unwrap_or_default()
}

/// Resident memory of a process and its children, in bytes.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Memory {
    pub(crate) now: u64,
    pub(crate) peak: u64,
}

impl Memory {
    pub(crate) fn of(pid: u32) -> Option<Self> {
        let mut memory = Self::default();
        for member in family(pid) {
            let Ok(status) = fs::read_to_string(format!("/proc/{member}/status")) else {
                continue;
            };
            memory.now += kib(&status, "VmRSS:") * 1024;
            memory.peak += kib(&status, "VmHWM:") * 1024;
        }
        (memory.now > 0).then_some(memory)
    }

    /// Resets the peak; without the right to do so, it remains the peak since the start.
    pub(crate) fn reset_peak(pid: u32) {
        for member in family(pid) {
            fs::write(format!("/proc/{member}/clear_refs"), "5").unwrap_or_default();
        }
    }
}

fn kib(status: &str, key: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix(key));
    let number = line.and_then(|line| line.split_whitespace().next());
    number.and_then(|number| number.parse().ok()).unwrap_or(0)
}

/// The fields that are read from `/proc/PID/stat`.
struct Stat {
    parent: u32,
    user_ticks: u64,
    system_ticks: u64,
}

impl Stat {
    fn of(pid: u32) -> Option<Self> {
        let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The name, in brackets, may hold anything: the other fields begin behind the last bracket.
        let (_, fields) = text.rsplit_once(')')?;
        let fields: Vec<&str> = fields.split_whitespace().collect();
        let field = |index: usize| fields.get(index)?.parse().ok();
        Some(Self {
            parent: u32::try_from(field(1)?).ok()?,
            user_ticks: field(11)?,
            system_ticks: field(12)?,
        })
    }
}

/// Returns a process and all its descendants; empty if the process does not live.
pub(crate) fn family(pid: u32) -> Vec<u32> {
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    let parents: BTreeMap<u32, u32> = entries
        .filter_map(|entry| {
            let other = entry.ok()?.file_name().to_str()?.parse().ok()?;
            Some((other, Stat::of(other)?.parent))
        })
        .collect();
    let mut family = Vec::new();
    if parents.contains_key(&pid) {
        family.push(pid);
    }
    let mut next = 0;
    while let Some(parent) = family.get(next).copied() {
        let children = parents.iter().filter(|(_, of)| **of == parent);
        family.extend(children.map(|(child, _)| *child));
        next += 1;
    }
    family
}

/// Returns the CPU time of each thread of a process, in nanoseconds.
fn threads(pid: u32) -> Vec<(u32, u64)> {
    let Ok(tasks) = fs::read_dir(format!("/proc/{pid}/task")) else {
        return Vec::new();
    };
    tasks
        .filter_map(|task| {
            let task = task.ok()?;
            let thread = task.file_name().to_str()?.parse().ok()?;
            let schedstat = fs::read_to_string(task.path().join("schedstat")).ok()?;
            let time = schedstat.split_whitespace().next()?.parse().ok()?;
            Some((thread, time))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The CPU time of a process includes that of a thread that worked and ended.
    #[test]
    fn work_is_seen() {
        let pid = std::process::id();
        let before = Cpu::of(pid).expect("we live");
        let busy = || {
            let mut sum = 0_u64;
            while thread_cpu() < Duration::from_millis(200) {
                sum = std::hint::black_box(sum + 1);
            }
            sum
        };
        std::thread::spawn(busy).join().expect("it ends");
        let spent = Cpu::of(pid).expect("we live").since(&before);
        assert!(spent.total >= Duration::from_millis(150), "{spent:?}");
        assert!(spent.total < Duration::from_secs(20), "{spent:?}");
        let memory = Memory::of(pid).expect("we live");
        assert!(
            memory.now > 100_000 && memory.peak >= memory.now,
            "{memory:?}"
        );
    }

    /// A process that is not there has no costs.
    #[test]
    fn nobody_costs_nothing() {
        assert!(Cpu::of(u32::MAX).is_none());
        assert!(Memory::of(u32::MAX).is_none());
    }
}
