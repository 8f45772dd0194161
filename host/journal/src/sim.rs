//! Tests of the journal's real code over simulated files: power loss, failures of every call,
//! damage.
//!
//! The tests drive the parts of a log that its threads usually drive, step by step, in an order
//! that a seed gives. So a failure can be run again.

mod arbitrary_files;
mod damage;
mod deferred_sync;
mod disk;
mod faults;
mod life;
mod payload;
mod points;
mod power;
mod rig;
mod shutdown;
mod trace;

/// Returns the seeds to run: one that is to be run again, or as many as asked for.
pub(crate) fn seeds(short: u64) -> std::ops::Range<u64> {
    let number = |name| std::env::var(name).ok()?.parse::<u64>().ok();
    match number("SPANDREL_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("SPANDREL_SEEDS").unwrap_or(short),
    }
}
