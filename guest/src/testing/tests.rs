//! The SDK's own promises, seen through the test host, which checks replies as the real one does.

use std::marker::PhantomData;
use std::time::Duration;

use spandrel_wire::Traces;

use super::{TestBatch, TestHost};
use crate::instance::{Instance, Package};
use crate::prelude::*;

mod contract;
mod holding;
mod letting_go;
mod projections;
mod replacing;
mod swapping;

/// The behaviour of a plugin in one test.
trait Script: 'static {
    fn process(held: &mut Vec<Held>, batch: &mut Batch);
    fn tick(held: &mut Vec<Held>) {
        held.clear();
    }
}

#[derive(Debug)]
struct Scripted<S>(Vec<Held>, PhantomData<S>);

impl<S: Script> Plugin for Scripted<S> {
    type Config = std::collections::BTreeMap<String, String>;

    fn manifest(&self) -> Manifest {
        Manifest::new().drop_reasons(&["first", "second"]).holds()
    }

    fn configure(_: Self::Config) -> Result<Self, String> {
        Ok(Self(Vec::new(), PhantomData))
    }

    fn process(&mut self, batch: &mut Batch) {
        S::process(&mut self.0, batch);
    }

    fn tick(&mut self) {
        S::tick(&mut self.0);
    }
}

const FIRST: Reason = Reason(0);
const SECOND: Reason = Reason(1);

fn host<S: Script>() -> TestHost<Scripted<S>> {
    TestHost::configure("{}").unwrap()
}

/// Makes two resources with two scopes each, and two spans in each scope, named by their place.
fn batch() -> TestBatch {
    let mut batch = TestBatch::new();
    for resource in ["r0", "r1"] {
        batch = batch.service(resource);
        for scope in ["s0", "s1"] {
            batch = batch.scope(scope, "1");
            for span in ["a", "b"] {
                let name = format!("{resource}/{scope}/{span}");
                batch = batch.span(&name, |span| span.attribute("came", true));
            }
        }
    }
    batch
}

/// A plugin that only reads costs nothing: every list of the reply is empty.
#[test]
fn looking_leaves_no_reply() {
    struct Look;
    impl Script for Look {
        fn process(_: &mut Vec<Held>, batch: &mut Batch) {
            let _prepared = batch.prepare("team", "shop");
            for span in batch.spans() {
                assert_eq!(span.attribute("came"), Some(Value::Bool(true)));
                span.keep();
            }
        }
    }
    let outcome = host::<Look>().process(&batch());
    assert!(outcome.is_untouched());
    assert_eq!(outcome.kept().len(), 8);
}

/// A span, resource or scope has the same place in the batch for every way of walking through it.
#[test]
fn every_walk_counts_alike() {
    struct Walk;
    impl Script for Walk {
        fn process(_: &mut Vec<Held>, batch: &mut Batch) {
            let flat: Vec<_> = batch
                .spans()
                .map(|span| (span.index(), span.name().to_owned()))
                .collect();
            let mut nested = Vec::new();
            for resource in batch.resources() {
                for span in resource.spans() {
                    assert_eq!(span.resource().index(), resource.index());
                    nested.push((span.index(), span.name().to_owned()));
                }
            }
            assert_eq!(nested, flat);
            let mut by_scope = Vec::new();
            // Resources that the plugin does not walk through are counted too.
            for (resource, index) in batch.resources().zip(0..) {
                assert_eq!(resource.index(), index);
                for (scope, index) in resource.scopes().zip(2 * index..) {
                    assert_eq!(scope.index(), index);
                    for span in scope.spans() {
                        assert_eq!(span.scope().index(), scope.index());
                        by_scope.push((span.index(), span.name().to_owned()));
                    }
                }
            }
            assert_eq!(by_scope, flat);
            for span in batch.spans() {
                let of_resource = span.resource().spans().map(|span| span.index());
                assert!(of_resource.collect::<Vec<_>>().contains(&span.index()));
                let of_scope = span.scope().spans().map(|span| span.index());
                assert!(of_scope.collect::<Vec<_>>().contains(&span.index()));
            }
        }
    }
    assert!(host::<Walk>().process(&batch()).is_untouched());
}

/// Edits reach exactly the resource, scope or span that they were meant for.
#[test]
fn edits_reach_their_target() {
    struct Edit;
    impl Script for Edit {
        fn process(_: &mut Vec<Held>, batch: &mut Batch) {
            let here = batch.prepare("here", 7);
            for resource in batch.resources().filter(|r| r.service_name() == Some("r1")) {
                resource.set(here);
                resource.delete_attribute("service.name");
                for scope in resource.scopes().filter(|scope| scope.name() == "s0") {
                    scope.set_attribute("in", ["x", "y"]);
                    for span in scope.spans().filter(|span| span.name().ends_with('b')) {
                        span.set_name("renamed");
                        span.set_kind(SpanKind::Producer);
                        span.set_status(Status {
                            code: StatusCode::Ok,
                            message: "",
                        });
                        span.delete_attribute("came");
                        span.set(here);
                    }
                }
            }
        }
    }
    let outcome = host::<Edit>().process(&batch());
    for span in outcome.spans() {
        let resource = span.resource().unwrap();
        let in_resource = span.name().starts_with("r1");
        assert_eq!(resource.attribute("here").is_some(), in_resource);
        assert_eq!(resource.service_name().is_none(), in_resource);
        let in_scope = span.name().starts_with("r1/s0");
        let list = span
            .scope()
            .unwrap()
            .attribute("in")
            .and_then(Value::as_array);
        assert_eq!(list.map(Iterator::count), in_scope.then_some(2));
        let edited = span.name() == "r1/s0/b";
        let after = span.after();
        assert_eq!(after.name() == "renamed", edited);
        assert_eq!(after.kind() == SpanKind::Producer, edited);
        assert_eq!(after.status().code == StatusCode::Ok, edited);
        assert_eq!(after.attribute("came").is_none(), edited);
        assert_eq!(after.attribute("here") == Some(Value::Int(7)), edited);
    }
}

/// A replaced span gets its new fields and keeps its place.
#[test]
fn spans_are_replaced() {
    struct Replace;
    impl Script for Replace {
        fn process(_: &mut Vec<Held>, batch: &mut Batch) {
            for span in batch.spans().skip(1).step_by(7) {
                span.replace(&NewSpan::new([9; 16], [8; 8], "other").parent([7; 8]));
            }
        }
    }
    let outcome = host::<Replace>().process(&batch());
    let after = outcome.span("r0/s0/b").after();
    assert_eq!(after.name(), "other");
    assert_eq!(after.trace_id(), [9; 16]);
    assert!(!after.is_root());
    assert_eq!(after.attribute("came"), None);
    assert_eq!(outcome.span("r0/s0/a").after().name(), "r0/s0/a");
}

/// Setting one key and value on many spans stores it once, prepared or not. Every list of the reply
/// has exactly the capacity that it needs: the host gets it without another copy.
#[test]
fn equal_snippets_are_stored_once() {
    struct Tag;
    impl Script for Tag {
        fn process(_: &mut Vec<Held>, batch: &mut Batch) {
            let prepared = batch.prepare("team", "shop");
            for span in batch.spans() {
                span.set(prepared);
                span.set_attribute("team", "shop");
                span.set_attribute("tier", 1);
            }
        }
    }
    let package = Package {
        name: "tag",
        version: "1",
    };
    let (mut instance, _) = Instance::<Scripted<Tag>>::configure("", package).unwrap();
    for _ in 0..2 {
        let reply = instance.process(1, batch().bytes(), false);
        assert!(reply.verdicts.is_empty());
        assert_eq!(reply.edits.len(), 8 * 3 * 4);
        assert_eq!(reply.edits.capacity(), reply.edits.len());
        let once = "..team....shop".len() + "..tier....".len();
        assert_eq!(reply.blob.len(), once);
        assert_eq!(reply.blob.capacity(), once);
        assert!(reply.emission.is_none());
    }
}

/// Verdicts cover the batch even if the plugin did not walk to its end, and the last verdict
/// counts.
#[test]
fn verdicts_cover_the_batch() {
    struct Stop;
    impl Script for Stop {
        fn process(_: &mut Vec<Held>, batch: &mut Batch) {
            for span in batch.spans().take(2) {
                span.set_attribute("in", "vain");
                span.drop(FIRST);
            }
            batch.spans().nth(1).unwrap().drop(SECOND);
            batch.spans().nth(2).unwrap().drop(SECOND);
            batch.spans().nth(2).unwrap().keep();
        }
    }
    let package = Package {
        name: "stop",
        version: "1",
    };
    let (mut instance, _) = Instance::<Scripted<Stop>>::configure("", package).unwrap();
    let reply = instance.process(1, batch().bytes(), false);
    assert_eq!(reply.verdicts, [2, 3, 0, 0, 0, 0, 0, 0]);
    assert_eq!(reply.verdicts.capacity(), 8);
    assert_eq!((reply.edits.len(), reply.blob.len()), (0, 0));
}

/// Spans that a plugin makes arrive as they were built, with several resources in one emission.
#[test]
fn created_spans_are_sent() {
    struct Create;
    impl Script for Create {
        fn process(_: &mut Vec<Held>, _: &mut Batch) {
            for service in ["one", "two"] {
                let span = NewSpan::new([1; 16], [2; 8], "made")
                    .kind(SpanKind::Internal)
                    .times(5, 9)
                    .event(6, "tick")
                    .attribute("long", "x".repeat(300));
                let resource = NewResource::new().attribute("service.name", service);
                emit(resource.scope("plugin", "1").span(&span).span(&span));
            }
        }
    }
    let outcome = host::<Create>().process(&batch());
    assert_eq!(outcome.created().len(), 4);
    let last = outcome.created().last().unwrap();
    assert_eq!(last.resource().unwrap().service_name(), Some("two"));
    assert_eq!(last.scope().unwrap().name(), "plugin");
    assert_eq!(last.after().duration(), Duration::from_nanos(4));
    assert_eq!(last.after().attribute_str("long").map(str::len), Some(300));
    assert_eq!(
        last.after().events().next().map(|event| event.name()),
        Some("tick")
    );
}

/// Clocks stand still until a test moves them, random numbers are the same in each run, and a test
/// can read what a plugin tells the host.
#[test]
fn the_host_is_a_double() {
    struct Talk;
    impl Script for Talk {
        fn process(_: &mut Vec<Held>, batch: &mut Batch) {
            info!("{} spans", batch.spans().count());
            count("batches", 2);
            gauge("level", 0.5);
        }
    }
    let mut host = host::<Talk>();
    let (wall, elapsed) = (crate::now(), crate::monotonic());
    host.advance(Duration::from_secs(3));
    assert_eq!(crate::now() - wall, 3_000_000_000);
    assert_eq!(crate::monotonic() - elapsed, Duration::from_secs(3));
    host.seed(1);
    let random = [crate::random(), crate::random()];
    assert_ne!(random[0], random[1]);
    host.seed(1);
    assert_eq!(crate::random(), random[0]);
    host.process(&batch());
    assert_eq!(
        host.logs(),
        [(crate::host::Level::Info, "8 spans".to_owned())]
    );
    assert_eq!(
        (host.counter("batches"), host.gauge("level")),
        (2, Some(0.5))
    );
}

/// Metrics that the real host refuses fail a test.
#[test]
fn bad_metrics_fail_a_test() {
    let fails = |metric: fn()| std::panic::catch_unwind(metric).is_err();
    assert!(!fails(|| count("batches_2", 1)));
    assert!(!fails(|| count(&"a".repeat(64), 1)));
    assert!(fails(|| count(&"a".repeat(65), 1)));
    for bad in [
        || count("", 1),
        || count("Batches", 1),
        || count("batches-2", 1),
        || gauge("batch\u{e9}s", 1.0),
        || gauge("batches_2", 1.0),
    ] {
        assert!(fails(bad));
    }
    for number in 2..64 {
        gauge(&format!("gauge_{number}"), 0.0);
    }
    assert!(fails(|| count("one_too_many", 1)));
    assert!(!fails(|| gauge("gauge_2", 1.0)));
}

/// The builder writes the ids, parent, times, kind and status that it was given.
#[test]
fn the_builder_writes_spans() {
    let bytes = TestBatch::new()
        .service("shop")
        .span("GET /", |span| {
            span.trace(5)
                .id(6)
                .parent(7)
                .start(100)
                .lasting(Duration::from_nanos(50))
                .error("no")
        })
        .bytes();
    let placed = Traces::new(&bytes).spans().next().unwrap();
    let span = placed.span;
    assert_eq!(span.trace_id(), 5_u128.to_be_bytes());
    assert_eq!(span.span_id(), 6_u64.to_be_bytes());
    assert_eq!(span.parent_span_id(), 7_u64.to_be_bytes());
    assert_eq!(
        (span.start_time_unix_nano(), span.end_time_unix_nano()),
        (100, 150)
    );
    assert_eq!(
        span.status(),
        Status {
            code: StatusCode::Error,
            message: "no"
        }
    );
    assert_eq!(
        placed.resource_spans.resource().service_name(),
        Some("shop")
    );
}
