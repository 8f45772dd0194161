use std::time::Duration;

use serde_json::{Value as Json, json};
use spandrel_guest::testing::{Handover, TestBatch, TestHost, TestSpan};
use spandrel_guest::{Batch, DrainReason, Manifest, Plugin};

use super::{Config, KeepInterestingTraces};

mod input;

fn host(config: &Json) -> TestHost<KeepInterestingTraces> {
    TestHost::configure(config).unwrap()
}

/// A config that keeps only errors and slow traces, and judges a trace as soon as its root arrives.
fn at_once() -> Json {
    json!({ "ratio": 0.0, "settle": "0s", "timeout": "10s", "slow": "1s" })
}

fn batch() -> TestBatch {
    TestBatch::new().service("shop")
}

fn root(trace: u128) -> impl Fn(TestSpan) -> TestSpan {
    move |span| span.trace(trace).id(1)
}

fn child(trace: u128, id: u64) -> impl Fn(TestSpan) -> TestSpan {
    move |span| span.trace(trace).id(id).parent(1)
}

/// Children wait for their root. Then the whole trace is released together, and an error in any of
/// its spans counts.
#[test]
fn a_trace_is_judged_when_its_root_is_in() {
    let mut host = host(&at_once());
    let children = batch()
        .span("fine", child(1, 2))
        .span("failed", |span| child(2, 2)(span).error("no stock"));
    let outcome = host.process(&children);
    assert_eq!(outcome.held(), ["fine", "failed"]);

    let roots = batch().span("GET /", root(1)).span("POST /buy", root(2));
    let outcome = host.process(&roots);
    assert_eq!(outcome.dropped("uninteresting").len(), 2);
    assert_eq!(outcome.span("GET /").fate(), outcome.span("fine").fate());
    let mut kept = outcome.kept();
    kept.sort_unstable();
    assert_eq!(kept, ["POST /buy", "failed"]);
    assert_eq!(host.held(), 0);
}

/// A trace is slow by its whole length, from its first start to its last end, even if none of its
/// spans is slow by itself.
#[test]
fn slow_traces_are_kept() {
    let mut host = host(&at_once());
    let start = spandrel_guest::now();
    let part = Duration::from_millis(600);
    let spans = batch()
        .span("first", |span| child(1, 2)(span).start(start).lasting(part))
        .span("second", |span| {
            root(1)(span).start(start + 500_000_000).lasting(part)
        })
        .span("quick", |span| root(2)(span).start(start).lasting(part));
    let outcome = host.process(&spans);
    assert_eq!(outcome.kept(), ["first", "second"]);
    assert_eq!(outcome.dropped("uninteresting"), ["quick"]);
}

/// The given share of the uninteresting traces is kept, the same traces in every instance.
#[test]
fn a_ratio_of_the_rest_is_kept_by_trace_id() {
    let config = json!({ "ratio": 0.25, "settle": "0s" });
    let spans = (1..=2_000).fold(batch(), |batch, trace| {
        batch.span(&format!("{trace}"), root(trace))
    });
    let outcome = host(&config).process(&spans);
    let kept = outcome.kept();
    assert!((420..580).contains(&kept.len()), "{} of 2000", kept.len());
    assert_eq!(host(&config).process(&spans).kept(), kept);
}

/// A trace waits for stragglers after its root for the time in `settle`. Then a tick releases it.
#[test]
fn stragglers_are_waited_for() {
    let mut config = at_once();
    config["settle"] = json!("2s");
    let mut host = host(&config);
    assert_eq!(
        host.process(&batch().span("root", root(1))).held(),
        ["root"]
    );
    host.advance(Duration::from_millis(1_900));
    assert_eq!(host.tick().spans().len(), 0);
    host.process(&batch().span("late", |span| child(1, 2)(span).error("late")));
    host.advance(Duration::from_millis(200));
    assert_eq!(host.tick().kept(), ["root", "late"]);
    assert_eq!(host.gauge("waiting_traces"), Some(0.0));
}

/// A trace whose root never comes is judged by its spans so far when the timeout expires.
#[test]
fn the_timeout_judges_without_a_root() {
    let mut host = host(&at_once());
    let spans = batch()
        .span("fine", child(1, 2))
        .span("failed", |span| child(2, 2)(span).error("timeout"));
    host.process(&spans);
    host.advance(Duration::from_secs(10));
    let outcome = host.tick();
    assert_eq!(outcome.kept(), ["failed"]);
    assert_eq!(outcome.dropped("uninteresting"), ["fine"]);
}

/// Spans that come after the decision follow it without being held.
#[test]
fn late_spans_follow_the_judgement() {
    let mut host = host(&at_once());
    let roots = batch()
        .span("kept", |span| root(1)(span).error("failed"))
        .span("dropped", root(2));
    host.process(&roots);
    let late = batch()
        .span("of kept", child(1, 2))
        .span("of dropped", |span| child(2, 2)(span).error("too late"));
    let outcome = host.process(&late);
    assert_eq!(outcome.kept(), ["of kept"]);
    assert_eq!(outcome.dropped("uninteresting"), ["of dropped"]);
}

/// At shutdown all waiting traces are judged; under pressure the oldest half is.
#[test]
fn drains_judge_what_waits() {
    let mut host = host(&json!({ "ratio": 1.0, "timeout": "1h" }));
    for trace in 1..=4 {
        host.process(&batch().span(&format!("trace {trace}"), child(trace, 2)));
        host.advance(Duration::from_secs(1));
    }
    let mut kept = host.drain(DrainReason::Pressure).kept().join(", ");
    assert!(
        ["trace 1, trace 2", "trace 2, trace 1"].contains(&&*kept),
        "{kept}"
    );
    kept = host.drain(DrainReason::Shutdown).kept().join(", ");
    assert!(
        ["trace 3, trace 4", "trace 4, trace 3"].contains(&&*kept),
        "{kept}"
    );
    assert_eq!(host.held(), 0);
}

/// The number of waiting traces stays within the limit: the oldest are judged early.
#[test]
fn the_number_of_traces_is_bounded() {
    let mut host = host(&json!({ "ratio": 1.0, "timeout": "1h", "max_traces": 32 }));
    let mut kept = 0;
    for trace in 1..=200 {
        host.advance(Duration::from_millis(1));
        let name = format!("trace {trace}");
        let outcome = host.process(&batch().span(&name, child(trace, 2)));
        assert_eq!(outcome.held(), [&name], "the youngest waits");
        assert!(host.held() <= 32);
        kept += outcome.kept().len();
    }
    kept += host.drain(DrainReason::Shutdown).kept().len();
    assert_eq!(kept, 200);
}

/// The next generation settles the spans that this one held, and knows its decisions.
#[test]
fn a_swap_carries_traces_and_judgements() {
    let mut host = host(&at_once());
    host.process(&batch().span("judged", root(1)).span("fine", child(2, 2)));
    host.process(&batch().span("failed", |span| child(3, 2)(span).error("broken")));
    host.advance(Duration::from_secs(4));
    let next = host.swap_to::<KeepInterestingTraces>(at_once());
    let mut host = next.unwrap().carried();
    let late = host.process(&batch().span("late", child(1, 3)));
    assert_eq!(late.dropped("uninteresting"), ["late"]);
    host.advance(Duration::from_secs(6));
    let outcome = host.tick();
    assert_eq!(outcome.kept(), ["failed"]);
    assert_eq!(outcome.dropped("uninteresting"), ["fine"]);
    assert_eq!(host.held(), 0);
}

/// A trace waits for its timeout and no longer, after any number of swaps.
#[test]
fn many_swaps_do_not_stretch_the_timeout() {
    let mut host = host(&at_once());
    host.process(&batch().span("fine", child(1, 2)));
    for _ in 0..9 {
        host.advance(Duration::from_secs(1));
        assert!(host.tick().spans().is_empty());
        host = host.swap_to(at_once()).unwrap().carried();
    }
    host.advance(Duration::from_secs(1));
    assert_eq!(host.tick().dropped("uninteresting"), ["fine"]);
}

/// Makes two instances, the younger of which takes over from the elder.
fn joined(
    one: impl FnOnce(&mut TestHost<KeepInterestingTraces>),
    other: impl FnOnce(&mut TestHost<KeepInterestingTraces>),
    config: &Json,
) -> TestHost<KeepInterestingTraces> {
    let mut running = host(config);
    one(&mut running);
    running.advance(Duration::from_secs(4));
    let mut canary = running.beside(config).unwrap();
    other(&mut canary);
    canary.take_over(running).carried()
}

/// Parts of one trace that waited in two instances are judged as one, and its age counts from the
/// first span. No span is lost on the way.
#[test]
fn parts_of_a_trace_are_joined() {
    let mut host = joined(
        |one| {
            one.process(&batch().span("failed", |span| child(1, 2)(span).error("broken")));
            one.process(&batch().span("fine", child(2, 2)));
        },
        |other| {
            other.process(&batch().span("of failed", child(1, 3)));
            other.process(&batch().span("of fine", child(2, 3)));
        },
        &json!({ "ratio": 0.0, "slow": "0s", "timeout": "10s" }),
    );
    assert_eq!(host.held(), 4);
    host.advance(Duration::from_secs(6));
    let outcome = host.tick();
    let mut kept = outcome.kept();
    kept.sort_unstable();
    assert_eq!(kept, ["failed", "of failed"]);
    assert_eq!(outcome.dropped("uninteresting").len(), 2);
    assert!(outcome.undisposed().is_empty());
    assert_eq!(host.held(), 0);
}

/// A trace that waited in one instance and was judged in the other follows that decision, no matter
/// which of the two takes over.
#[test]
fn what_waits_follows_the_judgement_of_the_other() {
    let judged = |host: &mut TestHost<_>| {
        let roots = batch().span("kept", |span| root(1)(span).error("failed"));
        host.process(&roots.span("dropped", root(2)));
    };
    let waiting = |host: &mut TestHost<_>| {
        host.process(
            &batch()
                .span("of kept", child(1, 2))
                .span("of dropped", child(2, 2)),
        );
    };
    for mut host in [
        joined(judged, waiting, &at_once()),
        joined(waiting, judged, &at_once()),
    ] {
        let outcome = host.tick();
        assert_eq!(outcome.kept(), ["of kept"]);
        assert_eq!(outcome.dropped("uninteresting"), ["of dropped"]);
        assert_eq!(host.held(), 0);
    }
}

/// The limits hold when two instances become one: the oldest traces beyond them are judged early,
/// and no decision is remembered beyond the limit.
#[test]
fn the_limits_hold_for_two() {
    let config = json!({
        "ratio": 1.0, "settle": "0s", "timeout": "1h", "max_traces": 32, "max_decisions": 40,
    });
    let fill = |first: u128| {
        move |host: &mut TestHost<KeepInterestingTraces>| {
            for trace in first..first + 30 {
                host.process(&batch().span("judged", root(trace)));
                host.process(&batch().span(&format!("{trace}"), child(1_000 + trace, 2)));
            }
        }
    };
    let mut host = joined(fill(100), fill(200), &config);
    assert!(host.plugin().waiting.len() <= 32);
    assert!(host.plugin().decisions.len() <= 40);
    let outcome = host.tick();
    assert_eq!(host.held() + outcome.kept().len(), 60);
    let early = outcome.kept();
    assert!(early.iter().all(|name| name.starts_with('1')), "{early:?}");
}

/// A state of another version is refused with a message that names both. The held spans are offered
/// again: the trace waits again, and no span is lost.
#[test]
fn without_its_state_a_held_span_waits_again() {
    /// The plugin in a later release.
    #[derive(Debug)]
    struct Later(KeepInterestingTraces);
    impl Plugin for Later {
        type Config = Config;
        fn manifest(&self) -> Manifest {
            let version = crate::state::VERSION + 1;
            self.0.manifest().state_version(version)
        }
        fn configure(config: Config) -> Result<Self, String> {
            KeepInterestingTraces::configure(config).map(Self)
        }
        fn process(&mut self, batch: &mut Batch) {
            self.0.process(batch);
        }
        fn snapshot(&mut self) -> Option<Vec<u8>> {
            self.0.snapshot()
        }
    }
    let mut later = TestHost::<Later>::configure(at_once()).unwrap();
    later.process(&batch().span("failed", |span| child(1, 2)(span).error("broken")));
    let rolled_back = later.swap_to::<KeepInterestingTraces>(at_once()).unwrap();
    let message = "state version 3 is newer than 2, the newest that this plugin reads";
    assert_eq!(rolled_back.state, Handover::Refused(message.to_owned()));
    assert_eq!(rolled_back.outcome.held(), ["failed"]);
    let mut host = rolled_back.host;
    host.advance(Duration::from_secs(10));
    assert_eq!(host.tick().kept(), ["failed"]);
}

/// A plugin continues after a snapshot as if there had been none, and settles what it holds.
#[test]
fn a_plugin_goes_on_after_a_snapshot() {
    let mut host = host(&at_once());
    host.process(&batch().span("judged", root(1)).span("fine", child(2, 2)));
    let first = host.snapshot().unwrap();
    assert_eq!(host.snapshot().unwrap(), first);
    assert_eq!(
        host.process(&batch().span("GET /", root(2))).spans().len(),
        2
    );
    assert_eq!(host.held(), 0);
}

/// A state that is cut short or of another version is refused, and the waiting traces stay as they
/// were.
#[test]
fn damaged_states_are_refused() {
    let mut host = host(&at_once());
    host.process(&batch().span("judged", root(1)).span("fine", child(2, 2)));
    let (version, state) = host.snapshot().unwrap();
    for cut in 0..state.len() {
        host.restore(version, &state[..cut]).unwrap_err();
    }
    host.restore(version + 1, &state).unwrap_err();
    let longer = [&state[..], &[0]].concat();
    assert_eq!(
        host.restore(version, &longer).unwrap_err(),
        "the state goes on after its end"
    );
    assert_eq!(
        host.drain(DrainReason::Shutdown).dropped("uninteresting"),
        ["fine"]
    );
}

/// Invalid rules are refused with a message that names valid ones.
#[test]
fn bad_rules_are_refused() {
    let refused = |config| TestHost::<KeepInterestingTraces>::configure(config).unwrap_err();
    assert_eq!(
        refused(json!({ "ratio": 10 })),
        "`ratio` is 10: it must be from 0 to 1"
    );
    assert_eq!(
        refused(json!({ "timeout": "0s" })),
        "`timeout` must be longer than zero"
    );
    assert_eq!(
        refused(json!({ "slow": "fast" })),
        "slow: `fast` is not a duration such as `30s`, `250ms` or `1m30s`"
    );
    assert_eq!(
        refused(json!({ "max_traces": 1 })),
        "`max_traces` is 1: it must be from 2 to 1000000"
    );
}
