//! Bad input: invalid times, clocks that differ, failures that are recorded outside of the status.

use std::time::Duration;

use spandrel_guest::testing::TestSpan;
use spandrel_guest::{Status, StatusCode};

use super::{at_once, batch, child, host, root};

type Build = fn(TestSpan) -> TestSpan;

/// A time that was left out, is in another unit, or is before its start makes no trace slow. The
/// trace's other spans count.
#[test]
fn bad_times_make_no_trace_slow() {
    const DAY: u64 = 24 * 3_600_000_000_000;
    let now = 1_767_225_600_000_000_000;
    let part = Duration::from_millis(600);
    let bad: [(&str, u64, u64); 9] = [
        ("no times", 0, 0),
        ("no start", 0, now),
        ("no end", now, 0),
        ("end before start", now, now - 2_000_000_000),
        ("seconds", 1_767_225_600, 1_767_225_605),
        ("milliseconds", 1_767_225_600_000, 1_767_225_605_000),
        ("microseconds", 1_767_225_600_000_000, 1_767_225_605_000_000),
        ("a year ahead", now, now + 365 * DAY),
        ("no end in sight", now, u64::MAX),
    ];
    let times = |build: TestSpan, start, end| build.start(start).end(end);
    for (name, start, end) in bad {
        for with_a_good_span in [false, true] {
            let mut host = host(&at_once());
            let mut spans = batch();
            if with_a_good_span {
                spans = spans.span("good", |span| child(1, 3)(span).start(now).lasting(part));
            }
            let spans = spans
                .span("bad", |span| times(child(1, 2)(span), start, end))
                .span(name, |span| times(root(1)(span), start, end));
            let outcome = host.process(&spans);
            assert_eq!(outcome.kept(), Vec::<&str>::new(), "{name}");
        }
        let mut host = host(&at_once());
        let spans = batch()
            .span("slow", |span| {
                child(1, 2)(span).start(now).lasting(Duration::from_secs(1))
            })
            .span(name, |span| times(root(1)(span), start, end));
        assert_eq!(host.process(&spans).kept(), ["slow", name]);
    }
    // A trace that is sent years later keeps its duration.
    for (lasting, kept) in [(2, 1), (0, 0)] {
        let long_ago = now - 9_000 * DAY;
        let spans = batch().span("old", |span| {
            root(1)(span)
                .start(long_ago)
                .lasting(Duration::from_secs(lasting))
        });
        assert_eq!(host(&at_once()).process(&spans).kept().len(), kept);
    }
}

/// If the clocks of two senders differ by more than a trace waits, the gap between their spans does
/// not count as a duration.
#[test]
fn clocks_that_differ_make_no_trace_slow() {
    let now = 1_767_225_600_000_000_000;
    let second = 1_000_000_000;
    let spans = |apart: u64, lasting: u64| {
        let lasting = Duration::from_millis(lasting);
        batch()
            .span("phone", |span| {
                child(1, 2)(span).start(now - apart).lasting(lasting)
            })
            .span("server", |span| root(1)(span).start(now))
    };
    // A gap within the ten seconds of `timeout` may be a pause in the trace.
    for (apart, lasting, kept) in [
        (9 * second, 10, 2),
        (11 * second, 10, 0),
        (3_600 * second, 10, 0),
        (3_600 * second, 1_500, 2),
    ] {
        let outcome = host(&at_once()).process(&spans(apart, lasting));
        assert_eq!(outcome.kept().len(), kept, "{apart} {lasting}");
    }
    // The same holds for any number of spans, in any order.
    let mut host = host(&at_once());
    for at in [now, now - 7_200 * second, now - 3_600 * second] {
        host.process(&batch().span("part", |span| child(1, at)(span).start(at)));
    }
    assert_eq!(host.process(&batch().span("root", root(1))).kept().len(), 0);
}

/// A trace also counts as failed without an error status, by an HTTP status, an `error` tag or an
/// exception. With the status "ok" it has not failed.
#[test]
fn failures_without_a_status_are_kept() {
    let failed: [(&str, Build); 5] = [
        ("new", |span| {
            span.attribute("http.response.status_code", 503)
        }),
        ("old", |span| span.attribute("http.status_code", "500")),
        ("rpc", |span| span.attribute("rpc.grpc.status_code", 14)),
        ("tag", |span| span.attribute("error", true)),
        ("exception", |span| span.event("exception")),
    ];
    let ok = Status {
        code: StatusCode::Ok,
        message: "",
    };
    for (name, build) in failed {
        let judged = |build: &dyn Fn(TestSpan) -> TestSpan| {
            let spans = batch().span(name, |span| build(child(1, 2)(span)));
            let outcome = host(&at_once()).process(&spans.span("root", root(1)));
            outcome.kept().len()
        };
        assert_eq!(judged(&build), 2, "{name}");
        assert_eq!(judged(&|span| build(span.status(ok))), 0, "{name}");
    }
    let fine = batch()
        .span("not found", |span| {
            child(1, 2)(span).attribute("http.status_code", 404)
        })
        .span("root", |span| {
            root(1)(span).event_with("exception", |event| {
                event.attribute("exception.escaped", false)
            })
        });
    assert_eq!(host(&at_once()).process(&fine).kept().len(), 0);
}

/// Spans with an id of zeros belong to no trace, so they are kept without judging.
#[test]
fn spans_without_a_trace_are_kept() {
    let outcome = host(&at_once()).process(&batch().span("nowhere", root(0)));
    assert!(outcome.is_untouched());
}
