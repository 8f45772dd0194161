//! Tests in which the power fails at any moment, and takes any part of what was not synced.

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::disk::SimDisk;
use super::rig::{LOGS, Rig, options};
use super::seeds;

/// Runs one life of a journal after another, with random work in each.
fn live(seed: u64) {
    let mut random = StdRng::seed_from_u64(seed);
    let options = options();
    let disk = SimDisk::new();
    let mut rig = Rig::new(disk.clone(), &options);
    for _ in 0..random.random_range(2..7) {
        let crash = random.random_bool(0.8);
        if crash {
            // The crash comes within the work of this life, sometimes in its first step.
            let most = if random.random_bool(0.3) { 12 } else { 150 };
            disk.crash_after(random.random_range(0..most));
        }
        for _ in 0..random.random_range(1..40) {
            step(&mut rig, &mut random);
            if disk.is_dead() {
                break;
            }
        }
        rig.quota_holds(&options);
        let killed = random.random_bool(0.3);
        if !killed && !crash {
            rig.close();
        }
        // Every recovery can be cut off as well.
        loop {
            if killed && random.random_bool(0.9) {
                disk.kill();
            } else {
                disk.lose_power(&mut |changes| random.random_range(0..=changes));
            }
            let Some(changes) = random.random_bool(0.3).then(|| random.random_range(0..14)) else {
                break;
            };
            disk.crash_after(changes);
            drop(super::rig::open(&disk, &options));
            if !disk.is_dead() {
                break;
            }
        }
        disk.kill();
        rig.reopen(&options);
    }
}

fn step(rig: &mut Rig, random: &mut StdRng) {
    let log = random.random_range(0..LOGS);
    match random.random_range(0..10) {
        0..4 => {
            let most = if random.random_bool(0.1) {
                12_000
            } else {
                1500
            };
            let count = random.random_range(1..6);
            let lengths: Vec<usize> = (0..count).map(|_| random.random_range(16..most)).collect();
            rig.append(log, &lengths);
        }
        4..7 => {
            let numbers: Vec<u64> = rig.owed[log].records.keys().copied().collect();
            for number in numbers {
                if random.random_bool(0.4) {
                    rig.finish(log, number);
                }
            }
        }
        7 => rig.allocate(log),
        _ => rig.tick(log),
    }
}

/// The power may fail at random moments, also during recovery, with torn writes, and with writes
/// and directory entries lost in any combination. Nothing acknowledged is lost, no byte is wrong,
/// every recovery succeeds, and none reports a loss that did not happen. `SPANDREL_SEEDS=10000` is
/// the long form.
#[test]
fn power_loss_takes_nothing_acknowledged() {
    for seed in seeds(300) {
        let lived = std::panic::catch_unwind(|| live(seed));
        assert!(lived.is_ok(), "SPANDREL_SEED={seed} runs it again");
    }
}
