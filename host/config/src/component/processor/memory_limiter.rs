//! `memory_limiter`: the Collector's keys, with their meaning in the Collector.

use std::time::Duration;

use crate::text::section::Section;

/// The memory limits of the process above which a pipeline that names this limiter refuses
/// requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryLimiter {
    /// The time between two measurements.
    pub check_interval: Duration,
    /// The hard limit.
    pub limit: Amount,
    /// The distance of the soft limit below the hard limit; `None` for a fifth of the hard limit.
    pub spike: Option<Amount>,
}

/// An amount of memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Amount {
    /// The number as written.
    Bytes(u64),
    /// A percentage of the memory available to this process.
    Percent(u32),
}

impl Amount {
    /// Returns the amount in bytes, given the total memory.
    pub fn of(self, total: u64) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes,
            Self::Percent(percent) => total / 100 * u64::from(percent),
        }
    }
}

/// The shortest time between two measurements. Each one asks the system, and takes some tenths of a
/// millisecond on a busy machine.
const OFTENEST: Duration = Duration::from_millis(10);

pub(super) fn read(section: &Section<'_>) -> Option<MemoryLimiter> {
    section.without_meaning(
        &[
            "min_gc_interval_when_soft_limited",
            "min_gc_interval_when_hard_limited",
        ],
        "there is no garbage to collect here",
    );
    section.required("check_interval", "1s");
    let often = (OFTENEST, "a measurement takes some of that");
    let check_interval = section.duration_least("check_interval", Duration::from_secs(1), often);
    let mib = |key| section.integer(key, 0_u32, 0..=u32::MAX);
    let (limit_mib, spike_mib) = (mib("limit_mib"), mib("spike_limit_mib"));
    let percent = |key| section.integer(key, 0_u32, 0..=100);
    let (limit_percent, spike_percent) = (
        percent("limit_percentage"),
        percent("spike_limit_percentage"),
    );
    for (key, limit_key, spike, limit) in [
        ("spike_limit_mib", "limit_mib", spike_mib, limit_mib),
        (
            "spike_limit_percentage",
            "limit_percentage",
            spike_percent,
            limit_percent,
        ),
    ] {
        if limit > 0 && spike >= limit {
            let what = format!("{spike} is not smaller than {limit_key}, which is {limit}");
            section.wrong_key(
                key,
                what,
                format!("write a smaller one, or a larger {limit_key}"),
            );
        }
    }
    let bytes = |mib| Amount::Bytes(u64::from(mib) << 20);
    // As in the Collector, MiB take precedence over percentages.
    let (limit, spike) = match (limit_mib, limit_percent) {
        (0, 0) => {
            section.wrong(
                "there is no limit",
                "add `limit_mib: 512`, or `limit_percentage: 80`",
            );
            return None;
        }
        (0, percent) => (
            Amount::Percent(percent),
            (spike_percent > 0).then_some(Amount::Percent(spike_percent)),
        ),
        (mib, _) => (bytes(mib), (spike_mib > 0).then(|| bytes(spike_mib))),
    };
    Some(MemoryLimiter {
        check_interval,
        limit,
        spike,
    })
}
