//! The journal's real code over simulated files: power loss, failures of every call, damage.
//!
//! The parts of a log that the threads drive are driven here step by step, in an order that a seed
//! gives, so that a failure can be run again.

mod damage;
mod disk;
mod ends;
mod faults;
mod late;
mod life;
mod payload;
mod points;
mod power;
mod rig;
mod trace;

/// The seeds to run: one that is to be run again, or as many as asked for.
pub(crate) fn seeds(short: u64) -> std::ops::Range<u64> {
    let number = |name| std::env::var(name).ok()?.parse::<u64>().ok();
    match number("SPANDREL_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("SPANDREL_SEEDS").unwrap_or(short),
    }
}
