//! The effects of a plugin's handles while it is made, carried over, or replaced.

use super::{FIRST, Script, batch, host};
use crate::instance::{Instance, Package};
use crate::prelude::*;

const PACKAGE: Package = Package {
    name: "carried",
    version: "1",
};

/// A plugin whose config says whether it accepts a state. The state is always one handle.
#[derive(Debug)]
struct Carried {
    takes: bool,
    held: Vec<Held>,
}

impl Plugin for Carried {
    type Config = bool;

    fn manifest(&self) -> Manifest {
        Manifest::new().holds().state_version(1)
    }

    fn configure(takes: bool) -> Result<Self, String> {
        emit(NewResource::new().span(&NewSpan::new([1; 16], [2; 8], "configured")));
        let held = Vec::new();
        Ok(Self { takes, held })
    }

    fn process(&mut self, batch: &mut Batch) {
        self.held.extend(batch.spans().map(Span::hold));
    }

    /// Consumes its handles in every possible way.
    fn snapshot(&mut self) -> Option<Vec<u8>> {
        let state = self.held.first()?.to_bytes();
        self.held.pop()?.forward();
        self.held.pop()?.forward_with(|edits| {
            edits.set_name("written");
        });
        self.held.clear();
        Some(state.to_vec())
    }

    fn restore(&mut self, _: u32, state: &[u8]) -> Result<(), String> {
        let held = Held::from_bytes(state.try_into().map_err(|_| "not one handle")?);
        if !self.takes {
            return Err("not taken".to_owned());
        }
        held.forward();
        Ok(())
    }
}

fn carried(takes: &str) -> Instance<Carried> {
    let (instance, _) = Instance::configure(takes, PACKAGE).unwrap();
    instance
}

/// A refused state leaves no releases of the handles that were read from it, and what waited before
/// stays. An accepted state may release its items.
#[test]
fn a_refused_state_releases_nothing() {
    let state = crate::bindings::spandrel::plugin::types::State {
        version: 1,
        bytes: Held::new(7, 3).to_bytes().to_vec(),
    };
    let mut refusing = carried("false");
    assert!(refusing.restore(&state).is_err());
    let emission = refusing.tick();
    assert!(emission.released.is_empty());
    assert!(!emission.created.is_empty());

    let mut taking = carried("true");
    assert_eq!(taking.restore(&state), Ok(()));
    assert_eq!(taking.tick().released, [7, 3]);
}

/// A snapshot that consumes its handles releases none of their items and leaves no edits behind.
/// The releases that waited before it go out as they were.
#[test]
fn a_snapshot_releases_nothing() {
    let mut instance = carried("true");
    instance.process(7, batch().bytes(), false);
    Held::new(6, 1).forward_with(|edits| {
        edits.set_name("before");
    });
    assert!(instance.snapshot().is_some());
    Held::new(6, 2).forward_with(|edits| {
        edits.set_name("before");
    });
    let emission = instance.tick();
    assert_eq!(emission.released, [6, 1, 6, 2]);
    assert_eq!(emission.edits, [2, 0, 0, 6, 2, 1, 0, 6]);
}

/// A plugin that replaces another does not release that one's held spans, and keeps what it emitted
/// itself during `configure`. A refused config replaces nothing.
#[test]
fn a_replaced_plugin_releases_nothing() {
    let mut running = None;
    Instance::<Carried>::configure_in(&mut running, "true", PACKAGE).unwrap();
    running.as_mut().unwrap().process(7, batch().bytes(), false);
    Instance::configure_in(&mut running, "no config", PACKAGE).unwrap_err();
    assert_eq!(running.as_ref().unwrap().plugin().held.len(), 8);
    Instance::configure_in(&mut running, "true", PACKAGE).unwrap();
    let emission = running.as_mut().unwrap().tick();
    assert!(emission.released.is_empty());
    assert!(!emission.created.is_empty());
}

/// While a forwarded span is edited, the author may emit spans and settle others, also with edits:
/// each edit stays with its span.
#[test]
fn other_spans_may_go_during_an_edit() {
    struct Nested;
    impl Script for Nested {
        fn process(held: &mut Vec<Held>, batch: &mut Batch) {
            held.extend(batch.spans().take(4).map(Span::hold));
        }
        fn tick(held: &mut Vec<Held>) {
            let [a, b, c, d] = std::mem::take(held).try_into().unwrap();
            a.forward_with(|edits| {
                edits.set_name("outer").set_kind(SpanKind::Client);
                emit(NewResource::new().span(&NewSpan::new([1; 16], [2; 8], "made")));
                b.forward_with(|edits| {
                    edits.set_name("inner").set_attribute("came", false);
                });
                c.drop(FIRST);
                drop(d);
                edits.set_attribute("late", true);
            });
        }
    }
    let mut host = host::<Nested>();
    host.process(&batch());
    let outcome = host.tick();
    let (outer, inner) = (outcome.span("r0/s0/a"), outcome.span("r0/s0/b"));
    assert_eq!(
        (outer.after().name(), outer.after().kind()),
        ("outer", SpanKind::Client)
    );
    assert_eq!(outer.after().attribute("late"), Some(Value::Bool(true)));
    assert_eq!(outer.after().attribute("came"), Some(Value::Bool(true)));
    assert_eq!(inner.after().name(), "inner");
    assert_eq!(inner.after().attribute("came"), Some(Value::Bool(false)));
    assert_eq!(inner.after().attribute("late"), None);
    assert_eq!(outcome.dropped("first"), ["r0/s1/a"]);
    assert_eq!(outcome.undisposed(), ["r0/s1/b"]);
    assert_eq!(outcome.created().len(), 1);
}
