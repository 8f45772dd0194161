//! `memory_limiter`: while this process uses too much memory, the pipelines that name a limiter
//! refuse what comes in. It measures the resident memory of the process, as the system counts it.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use spandrel_config::id::Id;
use spandrel_config::memory_limiter::MemoryLimiter;
use spandrel_config::service;
use spandrel_pipeline::ingress::Gate;
use spandrel_pipeline::pipeline::Pipeline;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};
use tracing::{info, warn};

use crate::process::memory_rss;

/// The limits of one limiter, and its state.
#[derive(Debug)]
pub struct LimiterStatus {
    /// The key of the limiter in the configuration.
    pub id: Id,
    /// The hard limit, in bytes.
    pub hard_limit: u64,
    /// The limit above which data is refused, in bytes.
    pub soft_limit: u64,
    refusing: AtomicBool,
}

/// The limiters that pipelines name. Each is watched by a task of its own.
#[derive(Debug, Default)]
pub(crate) struct Limiters {
    watched: Vec<Arc<LimiterStatus>>,
    /// The tasks, which end when this value is dropped.
    _tasks: JoinSet<()>,
}

/// The gate of a pipeline, and all limiters that it names.
type GatedPipeline = (Arc<Gate>, Vec<Arc<LimiterStatus>>);

impl LimiterStatus {
    fn new(id: &Id, settings: &MemoryLimiter, total: u64) -> Self {
        let hard_limit = settings.limit.of(total);
        let spike = settings
            .spike
            .map_or(hard_limit / 5, |spike| spike.of(total));
        Self {
            id: id.clone(),
            hard_limit,
            soft_limit: hard_limit.saturating_sub(spike),
            refusing: AtomicBool::new(false),
        }
    }

    /// Returns true while the process uses more memory than the soft limit.
    pub fn is_refusing(&self) -> bool {
        self.refusing.load(Ordering::Relaxed)
    }

    /// Takes a measurement. Returns true if it changes the state.
    fn judge(&self, memory: u64) -> bool {
        let is_above = memory >= self.soft_limit;
        if self.refusing.swap(is_above, Ordering::Relaxed) == is_above {
            return false;
        }
        let (limiter, cur_mem_mib) = (&self.id, memory >> 20);
        if is_above {
            warn!(
                %limiter,
                cur_mem_mib,
                soft_limit_mib = self.soft_limit >> 20,
                is_above_hard_limit = memory >= self.hard_limit,
                "Memory usage is above soft limit. Refusing data."
            );
        } else {
            info!(
                %limiter,
                cur_mem_mib,
                "Memory usage back within limits. Resuming normal operation."
            );
        }
        true
    }
}

impl Limiters {
    /// Watches these pipelines, each with its configuration, from now on. Must be called inside the
    /// runtime.
    pub(crate) fn watch<'a>(
        pipelines: impl Iterator<Item = (&'a service::Pipeline, &'a Pipeline)>,
    ) -> Self {
        let mut all: Vec<(Arc<LimiterStatus>, Duration)> = Vec::new();
        let mut gated: Vec<GatedPipeline> = Vec::new();
        for (pipeline, running) in pipelines {
            let mut named = Vec::new();
            for limiter in &pipeline.limiters {
                let known = all.iter().find(|(known, _)| known.id == limiter.id);
                let known = known.map(|(known, _)| Arc::clone(known));
                let watched = known.or_else(|| {
                    let watched = begin(&limiter.id, &limiter.settings)?;
                    let every = limiter.settings.check_interval;
                    all.push((Arc::clone(&watched), every));
                    Some(watched)
                });
                named.extend(watched);
            }
            let gate = running.gate();
            // A limiter that the pipeline does not name any more may have shut it.
            gate.open();
            gated.push((gate, named));
        }
        let mut tasks = JoinSet::new();
        for (watched, every) in &all {
            let of_this = gated.iter().filter(|(_, named)| {
                let mut named = named.iter();
                named.any(|limiter| Arc::ptr_eq(limiter, watched))
            });
            let of_this = of_this.cloned().collect();
            tasks.spawn(watch(Arc::clone(watched), *every, of_this, memory_rss));
        }
        Self {
            watched: all.into_iter().map(|(watched, _)| watched).collect(),
            _tasks: tasks,
        }
    }

    pub(crate) fn watched(&self) -> Vec<Arc<LimiterStatus>> {
        self.watched.clone()
    }
}

fn begin(id: &Id, settings: &MemoryLimiter) -> Option<Arc<LimiterStatus>> {
    let Some(total) = total_memory().filter(|_| memory_rss().is_some()) else {
        warn!(limiter = %id, "the memory limiter does nothing: this system does not say how much memory there is");
        return None;
    };
    let watched = LimiterStatus::new(id, settings, total);
    info!(
        limiter = %id,
        limit_mib = watched.hard_limit >> 20,
        spike_limit_mib = (watched.hard_limit - watched.soft_limit) >> 20,
        total_memory_mib = total >> 20,
        check_interval_ms = crate::time_text::whole_millis(settings.check_interval),
        "Memory limiter configured"
    );
    Some(Arc::new(watched))
}

/// Returns the delay after which senders come back: the next measurement has been taken by then,
/// but not less than a second and not more than 30 seconds.
fn retry_after(every: Duration) -> Duration {
    every.clamp(Duration::from_secs(1), Duration::from_secs(30))
}

async fn watch(
    limiter: Arc<LimiterStatus>,
    every: Duration,
    gated: Vec<GatedPipeline>,
    measure: impl Fn() -> Option<u64>,
) {
    let mut has_stages = interval(every);
    has_stages.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        has_stages.tick().await;
        let Some(memory) = measure() else { continue };
        if limiter.judge(memory) {
            for (gate, limiters) in &gated {
                if limiters.iter().any(|limiter| limiter.is_refusing()) {
                    gate.shut(retry_after(every));
                } else {
                    gate.open();
                }
            }
        }
    }
}

/// Returns the memory that is available to this process: the limit of its control group, or the
/// memory of the machine, whichever is smaller.
fn total_memory() -> Option<u64> {
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let machine = fs::read_to_string("/proc/meminfo").ok();
    let machine = machine.as_deref().and_then(in_meminfo);
    let group = limit_files(&groups).into_iter().filter_map(|path| {
        let limit = fs::read_to_string(Path::new("/sys/fs/cgroup").join(path)).ok()?;
        // The content is `max` if there is no limit.
        limit.trim().parse().ok()
    });
    group.chain(machine).min()
}

fn in_meminfo(text: &str) -> Option<u64> {
    let mut lines = text.lines();
    let total = lines.find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = total.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib << 10)
}

/// Returns the files with the limits of the process' control groups, relative to the usual mount
/// point, in version 2 and in version 1. In a container the process' group is the root that it
/// sees.
fn limit_files(groups: &str) -> Vec<String> {
    let mut files = vec![
        "memory.max".to_owned(),
        "memory/memory.limit_in_bytes".to_owned(),
    ];
    for line in groups.lines() {
        let mut parts = line.splitn(3, ':');
        let (Some(_), Some(controllers), Some(path)) = (parts.next(), parts.next(), parts.next())
        else {
            continue;
        };
        let path = path.trim_matches('/');
        if controllers.is_empty() {
            files.push(format!("{path}/memory.max"));
        } else if controllers.split(',').any(|name| name == "memory") {
            files.push(format!("memory/{path}/memory.limit_in_bytes"));
        }
    }
    files
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU64;

    use super::*;
    use spandrel_config::memory_limiter::Amount;

    const MIB: u64 = 1 << 20;

    fn watched(limit: Amount, spike: Option<Amount>) -> LimiterStatus {
        let settings = MemoryLimiter {
            check_interval: Duration::from_secs(1),
            limit,
            spike,
        };
        LimiterStatus::new(
            &Id::parse("memory_limiter").expect("an id"),
            &settings,
            1000 * MIB,
        )
    }

    /// Limits are as in the Collector: the soft limit is the hard limit minus the spike, the spike
    /// is a fifth of the hard limit by default, and percentages are of all memory.
    #[test]
    fn limits_are_the_collectors() {
        let mib = |mib| Amount::Bytes(mib * MIB);
        for (limit, spike, hard, soft) in [
            (mib(500), None, 500, 400),
            (mib(500), Some(mib(50)), 500, 450),
            (Amount::Percent(80), Some(Amount::Percent(25)), 800, 550),
            (Amount::Percent(50), None, 500, 400),
        ] {
            let watched = watched(limit, spike);
            assert_eq!(
                (watched.hard_limit, watched.soft_limit),
                (hard * MIB, soft * MIB)
            );
        }
    }

    /// From the soft limit on everything is refused, and below it nothing is. Only changes are
    /// reported.
    #[test]
    fn above_the_soft_limit_is_refused() {
        let watched = watched(Amount::Bytes(500 * MIB), None);
        for (memory, changes, refuses) in [
            (399, false, false),
            (400, true, true),
            (600, false, true),
            (400, false, true),
            (399, true, false),
            (0, false, false),
        ] {
            assert_eq!(watched.judge(memory * MIB), changes, "{memory}");
            assert_eq!(watched.is_refusing(), refuses, "{memory}");
        }
    }

    /// A gate is shut by the first measurement at or above the soft limit, and opened by the first
    /// one below it, unless another limiter of its pipeline still refuses.
    #[tokio::test(start_paused = true)]
    async fn gates_follow_the_memory() {
        let every = Duration::from_secs(1);
        let low = Arc::new(watched(Amount::Bytes(500 * MIB), None));
        let high = Arc::new(watched(Amount::Bytes(1000 * MIB), None));
        let (one, both) = (Arc::<Gate>::default(), Arc::<Gate>::default());
        let memory = Arc::<AtomicU64>::default();
        let measure = |memory: &Arc<AtomicU64>| {
            let memory = Arc::clone(memory);
            move || Some(memory.load(Ordering::Relaxed) * MIB)
        };
        let of_both = (Arc::clone(&both), vec![Arc::clone(&low), Arc::clone(&high)]);
        let of_low = vec![(Arc::clone(&one), vec![Arc::clone(&low)]), of_both.clone()];
        let mut tasks = JoinSet::new();
        tasks.spawn(watch(low, every, of_low, measure(&memory)));
        tasks.spawn(watch(high, every, vec![of_both], measure(&memory)));
        for (mib, shut) in [
            (100, [false, false]),
            (450, [true, true]),
            (900, [true, true]),
            (450, [true, true]),
            (100, [false, false]),
        ] {
            memory.store(mib, Ordering::Relaxed);
            tokio::time::sleep(2 * every).await;
            let found = [&one, &both].map(|gate| gate.retry_after().is_some());
            assert_eq!(found, shut, "{mib} MiB");
        }
    }

    /// The groups of a process are found in both versions of the kernel's control groups.
    #[test]
    fn groups_are_found() {
        let first = limit_files("5:cpu,memory:/docker/1\n4:pids:/x\n");
        assert!(first.contains(&"memory/docker/1/memory.limit_in_bytes".to_owned()));
        assert_eq!(first.len(), 3);
        let second = limit_files("0::/system.slice/spandrel.service\n");
        assert!(second.contains(&"system.slice/spandrel.service/memory.max".to_owned()));
        assert_eq!(
            in_meminfo("MemTotal:       2048 kB\nMemFree: 1 kB"),
            Some(2 * MIB)
        );
    }
}
