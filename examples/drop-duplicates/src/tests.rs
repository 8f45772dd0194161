use std::time::Duration;

use serde_json::json;
use spandrel_guest::testing::{TestBatch, TestHost};

use super::DropDuplicates;

fn host(max_spans: usize) -> TestHost<DropDuplicates> {
    TestHost::configure(json!({ "window": "10s", "max_spans": max_spans })).unwrap()
}

fn numbered(first: u64, count: u64) -> TestBatch {
    (first..first + count).fold(TestBatch::new().service("shop"), |batch, id| {
        batch.span(&format!("span {id}"), |span| span.trace(7).id(id))
    })
}

/// The first of its kind is kept, whatever comes after is dropped and counted: across batches and
/// within one.
#[test]
fn repeated_spans_are_dropped_and_counted() {
    let mut host = host(100);
    let batch = numbered(1, 3);
    let first = host.process(&batch);
    assert!(first.is_untouched());
    assert_eq!(host.process(&batch).dropped("duplicate").len(), 3);

    let twice = TestBatch::new()
        .service("shop")
        .span("one", |span| span.trace(8).id(1))
        .span("two", |span| span.trace(8).id(1));
    let outcome = host.process(&twice);
    assert_eq!(outcome.kept(), ["one"]);
    assert_eq!(outcome.dropped("duplicate"), ["two"]);
    assert_eq!(host.counter("duplicates"), 4);
}

/// Only both ids together make a span: the same span id in another trace is another span.
#[test]
fn ids_are_compared_whole() {
    let mut host = host(100);
    let batch = TestBatch::new()
        .service("shop")
        .span("a", |span| span.trace(1).id(1))
        .span("other trace", |span| span.trace(1 << 100).id(1))
        .span("other id", |span| span.trace(1).id(2));
    assert_eq!(host.process(&batch).kept().len(), 3);
}

/// A span is remembered for the window at least, and forgotten after two at most.
#[test]
fn the_window_is_kept() {
    let mut host = host(100);
    let batch = numbered(1, 1);
    host.process(&batch);
    host.advance(Duration::from_secs(9));
    assert_eq!(host.process(&batch).dropped("duplicate").len(), 1);
    host.advance(Duration::from_millis(900));
    assert_eq!(host.process(&batch).dropped("duplicate").len(), 1);
    host.advance(Duration::from_secs(10));
    host.process(&numbered(2, 1));
    host.advance(Duration::from_secs(10));
    assert_eq!(host.process(&batch).kept().len(), 1);
}

/// More spans than there is room for push the oldest out; the youngest half is always remembered.
#[test]
fn memory_is_bounded() {
    let mut host = host(100);
    host.process(&numbered(0, 1_000));
    assert!(host.plugin().seen.len() <= 100);
    assert_eq!(
        host.process(&numbered(960, 40)).dropped("duplicate").len(),
        40
    );
    assert_eq!(host.process(&numbered(0, 40)).kept().len(), 40);
}

/// The next generation knows what this one has seen, for as long as this one would have.
#[test]
fn a_swap_forgets_nothing() {
    let mut host = host(100);
    let batch = numbered(1, 30);
    host.process(&batch);
    host.advance(Duration::from_secs(6));
    let config = json!({ "window": "10s", "max_spans": 100 });
    let mut host = host.swap_to::<DropDuplicates>(config).unwrap().carried();
    host.advance(Duration::from_secs(3));
    assert_eq!(host.process(&batch).dropped("duplicate").len(), 30);
    host.advance(Duration::from_secs(12));
    host.process(&numbered(100, 1));
    host.advance(Duration::from_secs(11));
    assert_eq!(host.process(&batch).kept().len(), 30);
}

/// A state that is cut short or of another version is refused, and changes nothing.
#[test]
fn damaged_states_are_refused() {
    let mut host = host(100);
    let batch = numbered(1, 5);
    host.process(&batch);
    let (version, state) = host.snapshot().unwrap();
    for cut in 0..state.len() {
        host.restore(version, &state[..cut]).unwrap_err();
    }
    assert_eq!(
        host.restore(9, &state).unwrap_err(),
        "state version 9 is newer than 2, the newest that this plugin reads"
    );
    assert_eq!(host.process(&batch).dropped("duplicate").len(), 5);
}

/// Limits that make no sense are refused with what would.
#[test]
fn bad_limits_are_refused() {
    let refused = |config| TestHost::<DropDuplicates>::configure(config).unwrap_err();
    assert_eq!(
        refused(json!({ "window": "0s" })),
        "`window` must be longer than zero"
    );
    assert_eq!(
        refused(json!({ "window": 30 })),
        "window: invalid type: integer `30`, expected a string"
    );
    assert_eq!(
        refused(json!({ "max_spans": 0 })),
        "`max_spans` must be from 2 to 10000000"
    );
}
