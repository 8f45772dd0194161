//! Tests every crash point of one scenario, with every single thing that was not durable lost or
//! kept.

use std::collections::BTreeSet;

use super::disk::SimDisk;
use super::rig::{Rig, options};

/// Does everything that a journal does with its files: the first segment and the next one, a record
/// larger than a segment, a segment that is used again, one that is removed, the egress log,
/// checkpoints of both kinds, a close and another start.
fn scenario(rig: &mut Rig) {
    rig.append(0, &[700, 300]);
    rig.append(0, &[2500, 16]);
    rig.tick(0);
    rig.allocate(0);
    rig.append(0, &[3000, 1000, 900]);
    rig.append(1, &[400]);
    for number in 0..4 {
        rig.finish(0, number);
    }
    rig.tick(0);
    rig.append(0, &[20_000]);
    rig.append(0, &[4000, 3000]);
    rig.tick(1);
    for number in 4..8 {
        rig.finish(0, number);
    }
    rig.tick(0);
    rig.append(0, &[500, 500]);
    rig.finish(1, 0);
    rig.append(1, &[600]);
    rig.close();
}

fn crash_at(point: u64, choose: &mut dyn FnMut(usize) -> usize) -> bool {
    let options = options();
    let disk = SimDisk::new();
    let mut rig = Rig::new(disk.clone(), &options);
    disk.crash_after(point);
    scenario(&mut rig);
    let dead = disk.is_dead();
    disk.lose_power(choose);
    rig.reopen(&options);
    rig.append(0, &[100]);
    rig.reopen(&options);
    dead
}

/// The power may fail before each call that changes something. The disk then has nothing of what
/// was not durable, all of it, all but one sector or entry, only one, or every second one.
#[test]
fn every_crash_point_is_survived() {
    let mut points = 0;
    let mut runs = 0;
    for point in 0.. {
        let mut kept = BTreeSet::new();
        let mut units = 0;
        let dead = crash_at(point, &mut |changes| {
            units += 1;
            kept.insert(changes);
            0
        });
        crash_at(point, &mut |changes| changes);
        for odd in [0, 1] {
            let mut at = 0;
            crash_at(point, &mut |changes| {
                at += 1;
                if at % 2 == odd { changes } else { 0 }
            });
        }
        for unit in 0..units {
            for lost in [true, false] {
                let mut at = 0;
                crash_at(point, &mut |changes| {
                    at += 1;
                    if (at - 1 == unit) == lost { 0 } else { changes }
                });
            }
        }
        runs += 4 + 2 * units;
        points += 1;
        if !dead {
            break;
        }
    }
    // The scenario must be complete: fewer calls than this would mean that it left something out.
    assert!(points > 60, "{points} points, {runs} runs");
}
