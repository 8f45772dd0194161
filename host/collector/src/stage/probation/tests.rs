//! Tests of each rule and its edges.

use std::time::Duration;

use spandrel_config::probation::ProbationConfig;
use spandrel_pipeline::ledger::CpuSamples;

use super::{Figures, Verdict, judge};

/// Returns the figures of a generation whose calls of 100 items take 50 us, and that drops a tenth.
fn good(calls: u64) -> Figures {
    Figures {
        calls,
        samples: CpuSamples {
            calls,
            items: calls * 100,
            time: Duration::from_micros(50) * u32::try_from(calls).expect("few"),
        },
        items_in: calls * 100,
        items_out: calls * 90,
        dropped: calls * 10,
        faults: 0,
    }
}

fn standing(new: Figures, old: Option<Figures>) -> Verdict {
    let config = ProbationConfig::default();
    judge(&config, Duration::from_secs(1), &new, old.as_ref())
}

fn reason(new: Figures, old: Option<Figures>) -> String {
    match standing(new, old) {
        Verdict::Failed(reason) => reason,
        other => panic!("{other:?}"),
    }
}

/// A generation passes when both its time and its batches are over, not one of them.
#[test]
fn it_passes_after_time_and_batches() {
    let config = ProbationConfig::default();
    let judge = |seconds, calls| {
        let elapsed = Duration::from_secs(seconds);
        judge(&config, elapsed, &good(calls), Some(&good(5000)))
    };
    assert_eq!(judge(60, 999), Verdict::Undecided);
    assert_eq!(judge(59, 1000), Verdict::Undecided);
    assert_eq!(judge(60, 1000), Verdict::Passed);
}

/// A reason to fail counts at the last moment, too.
#[test]
fn a_fault_comes_before_passing() {
    let config = ProbationConfig::default();
    let new = Figures {
        faults: 1,
        ..good(1000)
    };
    let old = good(5000);
    let last = judge(&config, Duration::from_secs(60), &new, Some(&old));
    assert!(matches!(last, Verdict::Failed(_)), "{last:?}");
}

/// The first fault is one too many if the generation before had none, or if there was none before.
#[test]
fn the_first_fault_rolls_back() {
    let new = Figures {
        faults: 1,
        ..good(3)
    };
    assert_eq!(
        reason(new, Some(good(5000))),
        "1 of 3 calls failed, 0 were allowed; before it, 0 of 5000 failed"
    );
    assert_eq!(
        reason(new, None),
        "1 of 3 calls failed, 0 were allowed; before it, 0 of 0 failed"
    );
}

/// Batches that the generation before could not take either never cause a rollback; more faults
/// than these explain do.
#[test]
fn faults_of_the_batches_are_not_held_against_it() {
    let old = Figures {
        faults: 50,
        ..good(5000)
    };
    let new = |calls, faults| Figures {
        faults,
        ..good(calls)
    };
    // One batch in a hundred fails: of 100 calls 1 failure is expected, 3 may be chance, and 3 come
    // from a batch that is tried three times.
    assert_eq!(standing(new(100, 7), Some(old)), Verdict::Undecided);
    assert_eq!(
        reason(new(100, 8), Some(old)),
        "8 of 100 calls failed, 7 were allowed; before it, 50 of 5000 failed"
    );
    // With more calls the limit gets nearer to the rate.
    assert_eq!(standing(new(10_000, 133), Some(old)), Verdict::Undecided);
    assert!(reason(new(10_000, 134), Some(old)).contains("133 were allowed"));
    // One fault long ago does not excuse a plugin that fails at once.
    let long_ago = Figures {
        faults: 1,
        ..good(1_000_000)
    };
    assert_eq!(standing(new(3, 3), Some(long_ago)), Verdict::Undecided);
    assert!(reason(new(4, 4), Some(long_ago)).starts_with("4 of 4 calls failed"));
}

/// The faults that the operator allows are added to those that the batches explain.
#[test]
fn allowed_faults_are_allowed() {
    let config = ProbationConfig {
        max_faults: 2,
        ..ProbationConfig::default()
    };
    let judge = |faults| {
        let new = Figures { faults, ..good(9) };
        judge(&config, Duration::ZERO, &new, Some(&good(100)))
    };
    assert_eq!(judge(2), Verdict::Undecided);
    assert!(matches!(judge(3), Verdict::Failed(_)));
}

fn dropping(dropped: u64, items_out: u64) -> Figures {
    Figures {
        calls: 20,
        items_in: dropped + items_out,
        items_out,
        dropped,
        ..Figures::default()
    }
}

/// A share of dropped items far above the one before causes a rollback, once there are enough items
/// to judge.
#[test]
fn a_jump_in_drops_rolls_back() {
    let old = Some(dropping(100, 900));
    assert_eq!(standing(dropping(60, 40), old), Verdict::Undecided);
    assert_eq!(
        reason(dropping(61, 39), old),
        "drops 61.0 % (61 of 100 items) against 10.0 % before, 50.0 points more are allowed"
    );
    assert_eq!(standing(dropping(99, 0), old), Verdict::Undecided);
    assert!(matches!(
        standing(dropping(100, 0), old),
        Verdict::Failed(_)
    ));
    // Held items count as neither dropped nor passed.
    let holding = Figures {
        items_in: 5000,
        ..dropping(99, 0)
    };
    assert_eq!(standing(holding, old), Verdict::Undecided);
}

/// If the operator said that more is dropped from now on, neither a jump nor dropping everything
/// causes a rollback, while faults and latency do.
#[test]
fn expected_drops_are_no_evidence() {
    let config = ProbationConfig {
        expects_drops: true,
        ..ProbationConfig::default()
    };
    let old = dropping(100, 900);
    let standing = |new: Figures| judge(&config, Duration::ZERO, &new, Some(&old));
    assert_eq!(standing(dropping(100_000, 0)), Verdict::Undecided);
    let failing = Figures {
        faults: 1,
        ..dropping(100_000, 0)
    };
    assert!(matches!(standing(failing), Verdict::Failed(_)));
}

/// A few batches that are dropped whole, such as those that a client sends again after a pause, are
/// not a reason yet; many items are, even if few batches brought them.
#[test]
fn some_batches_in_a_row_are_no_reason() {
    let old = Some(dropping(400, 600));
    let few = |dropped, calls| Figures {
        calls,
        ..dropping(dropped, 0)
    };
    assert_eq!(standing(few(999, 19), old), Verdict::Undecided);
    assert!(matches!(standing(few(189, 20), old), Verdict::Failed(_)));
    assert!(matches!(standing(few(1000, 2), old), Verdict::Failed(_)));
}

/// Dropping everything causes a rollback without a comparison, if there are enough items, and after
/// a generation that dropped much but not all.
#[test]
fn dropping_everything_rolls_back() {
    assert_eq!(standing(dropping(999, 0), None), Verdict::Undecided);
    assert_eq!(standing(dropping(989, 11), None), Verdict::Undecided);
    assert_eq!(
        reason(dropping(990, 10), None),
        "drops 99.0 % (990 of 1000 items) against nothing to compare with: that is everything"
    );
    // Too few items before do not make a comparison.
    assert!(reason(dropping(1000, 0), Some(dropping(0, 99))).contains("nothing to compare with"));
    assert_eq!(
        reason(dropping(1000, 0), Some(dropping(70, 30))),
        "drops 100.0 % (1000 of 1000 items) against 70.0 % before: that is everything"
    );
    // A filter that passes very little may pass nothing for a while.
    assert_eq!(
        standing(dropping(1000, 0), Some(dropping(96, 4))),
        Verdict::Undecided
    );
}

/// A generation that takes much longer for an item is rolled back; one call that stood still does
/// not cause a rollback, nor do differences too small to matter.
#[test]
fn slow_calls_roll_back() {
    let old = Some(good(5000));
    let slow = |calls: u64, time| Figures {
        samples: CpuSamples {
            time,
            ..good(calls).samples
        },
        ..good(calls)
    };
    let ms = Duration::from_millis;
    // An item took 0.5 us before. With 100 ms taken off, 251 us a call is 5.02 times that.
    assert_eq!(
        reason(slow(1000, ms(100 + 251)), old),
        "an item takes 2.51 us of processor time, before it 0.50 us: 5.0 times as long, 5.0 are allowed"
    );
    assert_eq!(standing(slow(1000, ms(100 + 250)), old), Verdict::Undecided);
    // One call takes 100 ms, the others as long as before.
    assert_eq!(standing(slow(20, ms(101)), old), Verdict::Undecided);
    // A generation that is slow from the start is found after 20 calls.
    assert_eq!(standing(slow(19, ms(19 * 90)), old), Verdict::Undecided);
    assert!(matches!(
        standing(slow(20, ms(20 * 90)), old),
        Verdict::Failed(_)
    ));
    // There is nothing to compare with.
    assert_eq!(
        standing(slow(20, ms(20 * 90)), Some(good(19))),
        Verdict::Undecided
    );
    assert_eq!(standing(slow(20, ms(20 * 90)), None), Verdict::Undecided);
    // Calls take ten times as long, but are still short.
    let tiny = Figures {
        samples: CpuSamples {
            time: Duration::from_millis(5),
            ..good(5000).samples
        },
        ..good(5000)
    };
    assert_eq!(standing(good(5000), Some(tiny)), Verdict::Undecided);
}

/// Smaller batches take longer for each item, and are not a reason: their calls are short.
#[test]
fn small_batches_are_no_reason() {
    let single = Figures {
        calls: 50_000,
        samples: CpuSamples {
            calls: 50_000,
            items: 50_000,
            time: Duration::from_secs(2),
        },
        items_in: 50_000,
        items_out: 50_000,
        ..Figures::default()
    };
    assert_eq!(standing(single, Some(good(5000))), Verdict::Undecided);
}

/// Figures of several pipelines add up, and a window is the difference of two readings.
#[test]
fn figures_add_up_and_a_window_is_a_difference() {
    let mut sum = good(3);
    sum += good(4);
    assert_eq!(sum, good(7));
    assert_eq!(sum.since(good(3)), good(4));
    assert_eq!(good(3).since(sum), Figures::default());
}
