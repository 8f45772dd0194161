//! Holding and settling spans.

use super::{FIRST, SECOND, Script, batch, host};
use crate::prelude::*;
use crate::testing::{Fate, TestBatch};

/// A held span can be settled in any way in a later call; a lost one is `undisposed`.
#[test]
fn held_spans_are_settled_later() {
    struct Later;
    impl Script for Later {
        fn process(held: &mut Vec<Held>, batch: &mut Batch) {
            for span in batch.spans().take(4) {
                span.set_attribute("edited", "as it was held");
                held.push(span.hold());
            }
        }
        fn tick(held: &mut Vec<Held>) {
            let [a, b, c, d] = std::mem::take(held).try_into().unwrap();
            a.forward();
            b.forward_with(|edits| {
                edits
                    .set_attribute("late", true)
                    .delete_attribute("came")
                    .set_name("settled");
            });
            c.drop(SECOND);
            drop(d);
        }
    }
    let mut host = host::<Later>();
    let outcome = host.process(&batch());
    assert_eq!(outcome.held().len(), 4);
    assert_eq!(outcome.kept().len(), 4);
    let outcome = host.tick();
    assert_eq!(outcome.kept(), ["r0/s0/a", "r0/s0/b"]);
    assert_eq!(outcome.dropped("second"), ["r0/s1/a"]);
    assert_eq!(outcome.undisposed(), ["r0/s1/b"]);
    let (a, b) = (
        outcome.span("r0/s0/a").after(),
        outcome.span("r0/s0/b").after(),
    );
    assert_eq!(
        (a.attribute("late"), a.attribute("came").is_some()),
        (None, true)
    );
    assert_eq!(b.attribute("late"), Some(Value::Bool(true)));
    assert_eq!((b.name(), b.attribute("came")), ("settled", None));
    assert_eq!(b.attribute_str("edited"), Some("as it was held"));
    assert_eq!(host.held(), 0);
}

/// A span that is held and settled within one call gets a verdict: the host is not asked to hold
/// it.
#[test]
fn holds_within_one_call_are_verdicts() {
    struct Within;
    impl Script for Within {
        fn process(held: &mut Vec<Held>, batch: &mut Batch) {
            let earlier = std::mem::take(held);
            let spans: Vec<Held> = batch.spans().take(4).map(Span::hold).collect();
            let [a, b, c, d] = spans.try_into().unwrap();
            for before in earlier {
                before.forward_with(|edits| {
                    edits.set_name("from before");
                });
            }
            a.forward_with(|edits| {
                edits.set_attribute("at", "once").set_kind(SpanKind::Client);
            });
            b.drop(FIRST);
            drop(c);
            held.push(d);
        }
    }
    let mut host = host::<Within>();
    let outcome = host.process(&batch());
    let a = outcome.span("r0/s0/a");
    assert_eq!(a.fate(), &Fate::Kept);
    assert_eq!(a.after().attribute_str("at"), Some("once"));
    assert_eq!(a.after().kind(), SpanKind::Client);
    assert_eq!(outcome.dropped("first"), ["r0/s0/b"]);
    assert_eq!(outcome.undisposed(), ["r0/s1/a"]);
    assert_eq!(outcome.held(), ["r0/s1/b"]);

    let outcome = host.process(&batch());
    let released = outcome.spans().last().unwrap();
    assert_eq!(
        (released.name(), released.after().name()),
        ("r0/s1/b", "from before")
    );
    assert_eq!(released.after().attribute("at"), None);
    assert_eq!(host.held(), 1);
}

/// A held span has one handle. Asking for another, or judging the span otherwise, panics at the
/// place of the mistake, and does not make a reply that the host would refuse.
#[test]
#[should_panic(expected = "a held span is settled by its `Held`")]
fn a_span_is_held_once() {
    struct Twice;
    impl Script for Twice {
        fn process(held: &mut Vec<Held>, batch: &mut Batch) {
            held.extend(batch.spans().map(Span::hold));
            held.extend(batch.spans().map(Span::hold));
        }
    }
    host::<Twice>().process(&batch());
}

/// A handle survives a snapshot, as bytes and through serde.
#[test]
fn handles_can_be_stored() {
    let held = Held::new(1 << 40, 7);
    let again = Held::from_bytes(held.to_bytes());
    assert_eq!(again, held);
    let json = serde_json::to_string(&held).unwrap();
    let read: Held = serde_json::from_str(&json).unwrap();
    assert_eq!(read, held);
}

/// Settling many spans within the call that held them stays cheap and stores equal edits once. It
/// works beside releases of earlier batches, which keep their own edits.
#[test]
fn many_spans_are_settled_within_one_call() {
    struct Many;
    impl Script for Many {
        fn process(held: &mut Vec<Held>, batch: &mut Batch) {
            let mut earlier = held.pop();
            let mut spans: Vec<Held> = batch.spans().map(Span::hold).collect();
            held.extend(spans.pop());
            for (number, now) in spans.into_iter().enumerate() {
                now.forward_with(|edits| {
                    edits
                        .set_attribute("when", "now")
                        .set_kind(SpanKind::Server);
                });
                if number == 1_000
                    && let Some(before) = earlier.take()
                {
                    before.forward_with(|edits| {
                        edits.set_attribute("when", "before").set_name("earlier");
                    });
                }
            }
        }
    }
    let mut host = host::<Many>();
    for round in 0..2 {
        let many = (0..2_000).fold(TestBatch::new(), |batch, number| {
            batch.span(&number.to_string(), |span| span)
        });
        let outcome = host.process(&many);
        assert_eq!(outcome.held(), ["1999"]);
        assert_eq!(outcome.kept().len(), 1_999 + round);
        for span in &outcome.spans()[..1_999] {
            assert_eq!(span.after().attribute_str("when"), Some("now"));
        }
        for span in &outcome.spans()[2_000..] {
            assert_eq!(span.after().attribute_str("when"), Some("before"));
            assert_eq!(span.after().name(), "earlier");
        }
    }
}
