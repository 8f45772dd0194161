use std::time::Duration;

use serde_json::json;
use spandrel_guest::testing::{TestBatch, TestHost, TestSpan};
use spandrel_guest::{Moment, SpanKind};

use super::DropDuplicates;
use crate::ids::Ids;
use crate::seen::Seen;

fn host(max_spans: usize) -> TestHost<DropDuplicates> {
    TestHost::configure(json!({ "window": "10s", "max_spans": max_spans })).unwrap()
}

/// The start time of all spans that are sent again later.
const START: u64 = 1_767_225_600_000_000_000;

fn numbered(first: u64, count: u64) -> TestBatch {
    (first..first + count).fold(TestBatch::new().service("shop"), |batch, id| {
        let name = format!("span {id}");
        batch.span(&name, |span| span.trace(7).id(id + 1).start(START))
    })
}

/// The first span of its kind is kept, and all later ones are dropped and counted, across batches
/// and within one.
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
        .span("one", |span| span.trace(8).id(1));
    let outcome = host.process(&twice);
    assert_eq!(outcome.kept(), ["one"]);
    assert_eq!(outcome.dropped("duplicate"), ["one"]);
    assert_eq!(host.counter("duplicates"), 4);
}

/// Both ids together identify a span: the same span id in another trace is another span.
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

/// With Zipkin's headers the spans of both sides of a call share one id; a forked process, or one
/// whose random numbers repeat, gives an id to two spans. Spans that differ in kind, name or times
/// are different, and each of them is a duplicate when it comes again.
#[test]
fn spans_that_share_an_id_are_told_apart() {
    let shared = |span: TestSpan| span.trace(9).id(5).parent(4).start(START);
    let batch = TestBatch::new()
        .service("cart")
        .span("client", |span| shared(span).kind(SpanKind::Client))
        .service("shop")
        .span("client", |span| shared(span).kind(SpanKind::Server))
        .service("istio-proxy")
        .span("ingress", |span| shared(span).kind(SpanKind::Server))
        .span("client", |span| {
            shared(span).kind(SpanKind::Server).start(START + 1_000)
        })
        .span("client", |span| {
            shared(span)
                .kind(SpanKind::Server)
                .lasting(Duration::from_millis(11))
        });
    let mut host = host(100);
    for _ in 0..2 {
        assert_eq!(host.process(&batch).dropped("duplicate").len(), 0);
        assert_eq!(host.process(&batch).dropped("duplicate").len(), 5);
        host.advance(Duration::from_secs(21));
        host.process(&numbered(1, 1));
    }
}

/// Two copies of a span are equal even if an agent added attributes to one, and after a swap.
#[test]
fn copies_on_two_ways_are_the_same() {
    let span = |span: TestSpan| span.trace(9).id(5).start(START);
    let mut host = host(100);
    host.process(&TestBatch::new().service("shop").span("GET /", span));
    let other_way = TestBatch::new()
        .service("shop")
        .resource_attribute("k8s.pod.name", "shop-7")
        .span("GET /", |it| span(it).attribute("agent", "b"));
    assert_eq!(host.process(&other_way).dropped("duplicate"), ["GET /"]);
    let config = json!({ "window": "10s", "max_spans": 100 });
    let mut host = host.swap_to::<DropDuplicates>(config).unwrap().carried();
    assert_eq!(host.process(&other_way).dropped("duplicate"), ["GET /"]);
}

/// Ids of zeros do not count as ids: the spans cannot be told apart, and are kept.
#[test]
fn spans_without_ids_are_kept() {
    let mut host = host(100);
    let batch = TestBatch::new()
        .service("shop")
        .span("no trace", |span| span.trace(0).id(5))
        .span("no id", |span| span.trace(5).id(0));
    for _ in 0..2 {
        assert_eq!(host.process_bytes(&batch.bytes()).kept().len(), 2);
    }
}

/// A span is remembered for at least the window, and forgotten after at most two.
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

/// The oldest spans are pushed out when there are too many; the youngest half is always remembered.
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

/// The next generation remembers the spans that this one has seen, for as long as this one would
/// have.
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
        "state version 9 is newer than 3, the newest that this plugin reads"
    );
    assert_eq!(host.process(&batch).dropped("duplicate").len(), 5);
}

/// A generation that fills up just before its window ends is not forgotten as the window ends.
#[test]
fn a_full_half_is_remembered_for_its_window() {
    let mut host = host(20);
    host.advance(Duration::from_millis(9_900));
    host.process(&numbered(0, 10));
    host.advance(Duration::from_millis(200));
    assert_eq!(
        host.process(&numbered(0, 10)).dropped("duplicate").len(),
        10
    );
}

/// A span is remembered for its window, and not for ever, after any number of swaps.
#[test]
fn many_swaps_neither_shorten_nor_stretch_the_window() {
    let config = || json!({ "window": "10s", "max_spans": 100 });
    let mut host = host(100);
    let batch = numbered(1, 3);
    host.process(&batch);
    for _ in 0..9 {
        host.advance(Duration::from_secs(1));
        host = host.swap_to(config()).unwrap().carried();
        assert_eq!(host.process(&batch).dropped("duplicate").len(), 3);
    }
    for _ in 0..11 {
        host.advance(Duration::from_secs(1));
        host = host.swap_to(config()).unwrap().carried();
        host.process(&numbered(9, 1));
    }
    assert_eq!(host.process(&batch).kept().len(), 3);
}

fn ids(number: u64) -> Ids {
    let mut bytes = [0; Ids::BYTES];
    bytes[..8].copy_from_slice(&number.to_le_bytes());
    Ids::from_bytes(&bytes)
}

/// One instance sees a span each second and the other the next one, and they start in different
/// seconds. At any time of joining, each span is remembered for its window, and for three at most.
#[test]
fn two_windows_of_different_age_become_one() {
    const WINDOW: u64 = 10;
    let second = |second: u64| Moment::now() + Duration::from_secs(second);
    let all = (0..25).flat_map(|a| (0..25).map(move |b| (a, b)));
    for ((began_a, began_b), joined) in all.flat_map(|began| [30, 34, 39, 55].map(|at| (began, at)))
    {
        let window = Duration::from_secs(WINDOW);
        let mut one = Seen::new(window, 1_000, second(began_a));
        let mut other = Seen::new(window, 1_000, second(began_b));
        for at in 0..30 {
            let began = if at % 2 == 0 { began_a } else { began_b };
            let seen = if at % 2 == 0 { &mut one } else { &mut other };
            if at >= began {
                seen.forget_old(second(at));
                assert!(seen.insert(ids(at), second(at)));
            }
        }
        one.add(&other.remembered(), second(joined));
        for at in joined..70 {
            one.forget_old(second(at));
            for seen in 0..30 {
                let began = if seen % 2 == 0 { began_a } else { began_b };
                let known = one.knows(ids(seen));
                let case = || format!("{began_a} {began_b}: {seen} at {at}, joined at {joined}");
                assert!(known || seen < began || at >= seen + WINDOW, "{}", case());
                assert!(!known || at < seen + 3 * WINDOW, "{}", case());
            }
        }
    }
}

/// When a canary ends, its generation knows the spans of both, up to its limit: the youngest ones.
#[test]
fn a_canary_takes_over_within_its_limit() {
    let mut running = host(100);
    running.process(&numbered(0, 49));
    running.advance(Duration::from_secs(3));
    let config = json!({ "window": "10s", "max_spans": 100 });
    let mut canary = running.beside::<DropDuplicates>(&config).unwrap();
    canary.process(&numbered(100, 40));
    let mut canary = canary.take_over(running).carried();
    let seen = &canary.plugin().seen;
    assert_eq!(seen.len(), 89);
    assert_eq!(
        canary
            .process(&numbered(100, 40))
            .dropped("duplicate")
            .len(),
        40
    );

    let mut third = canary.beside::<DropDuplicates>(&config).unwrap();
    third.process(&numbered(200, 90));
    let mut third = third.take_over(canary).carried();
    assert!(third.plugin().seen.len() <= 100);
    // The spans that the third instance saw since its last turn are the youngest.
    assert_eq!(
        third.process(&numbered(250, 40)).dropped("duplicate").len(),
        40
    );
}

/// A state of more spans than fit is taken over as far as there is room. A state of another plugin
/// is refused, and the spans pass all the same.
#[test]
fn other_limits_and_other_states_are_survived() {
    let mut many = host(1_000);
    many.process(&numbered(0, 900));
    let few = json!({ "max_spans": 10 });
    let few = many.swap_to::<DropDuplicates>(few).unwrap().carried();
    assert!((5..=10).contains(&few.plugin().seen.len()));

    let mut later = host(100);
    assert_eq!(
        later.restore(2, &[0; 24]).unwrap_err(),
        "state version 2 is not read any more: this plugin's is 3"
    );
    assert_eq!(later.process(&numbered(0, 3)).kept().len(), 3);
}

/// A plugin continues after a snapshot as if there had been none.
#[test]
fn a_plugin_goes_on_after_a_snapshot() {
    let mut host = host(100);
    host.process(&numbered(0, 20));
    assert!(host.snapshot().is_some());
    assert_eq!(
        host.process(&numbered(0, 30)).dropped("duplicate").len(),
        20
    );
    assert_eq!(host.plugin().seen.len(), 30);
}

/// Invalid limits are refused with a message that names valid ones.
#[test]
fn bad_limits_are_refused() {
    let refused = |config| TestHost::<DropDuplicates>::configure(config).unwrap_err();
    assert_eq!(
        refused(json!({ "window": "0s" })),
        "`window` must be longer than zero"
    );
    assert_eq!(
        refused(json!({ "window": 30 })),
        "window: `30` is not a duration such as `30s`, `250ms` or `1m30s`"
    );
    assert_eq!(
        refused(json!({ "max_spans": 0 })),
        "`max_spans` must be from 2 to 10000000"
    );
}
