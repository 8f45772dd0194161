//! Swaps in the test host work as in the real one.

use std::collections::BTreeMap;

use super::FIRST;
use crate::prelude::*;
use crate::testing::{Handover, Swapped, TestBatch, TestHost};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {}

/// Holds spans named `wait`, and counts the others by name. The const is its state version.
#[derive(Debug)]
struct Counting<const VERSION: u32> {
    known: Known,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct Known {
    counts: BTreeMap<String, u64>,
    waiting: Vec<(Moment, Held)>,
}

impl<const VERSION: u32> Plugin for Counting<VERSION> {
    type Config = Config;

    fn manifest(&self) -> Manifest {
        Manifest::new()
            .holds()
            .drop_reasons(&["first"])
            .state_version(VERSION)
    }

    fn configure(_: Config) -> Result<Self, String> {
        let known = Known::default();
        Ok(Self { known })
    }

    fn process(&mut self, batch: &mut Batch) {
        for span in batch.spans() {
            if span.name() == "wait" {
                self.known.waiting.push((Moment::now(), span.hold()));
            } else {
                *self.known.counts.entry(span.name().to_owned()).or_default() += 1;
            }
        }
    }

    /// Forwards spans that have waited for exactly ten seconds; after a longer wait it drops them,
    /// because that is a mistake.
    fn tick(&mut self) {
        const LONG: Duration = Duration::from_secs(10);
        for (since, held) in self
            .known
            .waiting
            .extract_if(.., |(since, _)| since.elapsed() >= LONG)
        {
            match since.elapsed() == LONG {
                true => held.forward(),
                false => held.drop(FIRST),
            }
        }
    }

    fn snapshot(&mut self) -> Option<Vec<u8>> {
        state::to_bytes(&self.known)
    }

    fn restore(&mut self, version: u32, state: &[u8]) -> Result<(), String> {
        if version > VERSION {
            return Err(state::unreadable(version, VERSION));
        }
        let came: Known = state::from_bytes(state)?;
        for (name, count) in came.counts {
            *self.known.counts.entry(name).or_default() += count;
        }
        self.known.waiting.extend(came.waiting);
        Ok(())
    }
}

fn spans(names: &[&str]) -> TestBatch {
    names
        .iter()
        .fold(TestBatch::new().service("shop"), |batch, name| {
            batch.span(name, |span| span)
        })
}

fn working<const VERSION: u32>() -> TestHost<Counting<VERSION>> {
    let mut host = TestHost::configure("{}").unwrap();
    host.process(&spans(&["wait", "count", "count"]));
    host
}

/// A newer plugin reads an older state: it knows the counts, holds the held spans, and knows for
/// how long they have waited, though its clock has just started.
#[test]
fn a_state_is_carried_to_another_plugin() {
    let host = working::<1>();
    host.advance(Duration::from_secs(6));
    let mut host = host.swap_to::<Counting<2>>("{}").unwrap().carried();
    assert_eq!(crate::monotonic(), Duration::ZERO);
    assert_eq!(host.plugin().known.counts["count"], 2);
    assert_eq!(host.held(), 1);
    host.advance(Duration::from_secs(3));
    assert!(host.tick().spans().is_empty());
    host.advance(Duration::from_secs(1));
    assert_eq!(host.tick().kept(), ["wait"]);
    assert_eq!(host.held(), 0);
}

/// A state that is refused or missing costs no span: the held spans are offered as a batch.
#[test]
fn without_a_state_held_spans_are_offered() {
    let swapped = working::<2>().swap_to::<Counting<1>>("{}").unwrap();
    let message = "state version 2 is newer than 1, the newest that this plugin reads";
    assert_eq!(swapped.state, Handover::Refused(message.to_owned()));
    assert_eq!(swapped.outcome.held(), ["wait"]);
    assert_eq!(swapped.host.held(), 1);
    assert!(swapped.host.plugin().known.counts.is_empty());

    for (state, outcome, held) in [
        summary(working::<0>().swap_to::<Counting<1>>("{}")),
        summary(working::<1>().swap_to::<Counting<0>>("{}")),
    ] {
        assert_eq!(state, Handover::Nothing);
        assert_eq!((outcome, held), (1, 1));
    }
}

fn summary<P: Plugin>(swapped: Result<Swapped<P>, String>) -> (Handover, usize, usize) {
    let swapped = swapped.unwrap();
    let held = swapped.outcome.held().len();
    (swapped.state, held, swapped.host.held())
}

/// The error of a refused config is the one that the operator sees.
#[test]
fn a_refused_config_is_no_swap() {
    let refused = working::<1>()
        .swap_to::<Counting<1>>(r#"{ "a": 1 }"#)
        .unwrap_err();
    assert!(refused.contains("unknown field `a`"), "{refused}");
}

/// A plugin continues after a snapshot as if there had been none, any number of times.
#[test]
fn a_plugin_goes_on_after_a_snapshot() {
    let mut host = working::<1>();
    let first = host.snapshot().unwrap();
    assert_eq!(host.snapshot().unwrap(), first);
    host.process(&spans(&["wait", "count"]));
    host.advance(Duration::from_secs(10));
    assert_eq!(host.tick().kept(), ["wait", "wait"]);
    assert_eq!(host.plugin().known.counts["count"], 3);
}

/// When a canary ends, its generation knows what both knew, and settles what both held.
#[test]
fn a_generation_takes_over_in_addition() {
    let running = working::<1>();
    running.advance(Duration::from_secs(4));
    let mut canary = running.beside::<Counting<1>>("{}").unwrap();
    canary.process(&spans(&["wait", "count", "canary"]));
    let mut host = canary.take_over(running).carried();
    assert_eq!(host.plugin().known.counts["count"], 3);
    assert_eq!(host.plugin().known.counts["canary"], 1);
    assert_eq!(host.held(), 2);
    host.advance(Duration::from_secs(6));
    assert_eq!(host.tick().kept(), ["wait"], "the one that waited longer");
    host.advance(Duration::from_secs(4));
    assert_eq!(host.tick().kept(), ["wait"]);
}

/// A snapshot that consumes its handles fails the test: if the plugin continued, its spans would
/// stay held for ever.
#[test]
#[should_panic(expected = "held spans that the snapshot let go of")]
fn a_snapshot_that_lets_go_is_a_mistake() {
    #[derive(Debug)]
    struct Consuming(Vec<Held>);
    impl Plugin for Consuming {
        type Config = Config;
        fn manifest(&self) -> Manifest {
            Manifest::new().holds().state_version(1)
        }
        fn configure(_: Config) -> Result<Self, String> {
            Ok(Self(Vec::new()))
        }
        fn process(&mut self, batch: &mut Batch) {
            self.0.extend(batch.spans().map(Span::hold));
        }
        fn snapshot(&mut self) -> Option<Vec<u8>> {
            state::to_bytes(&std::mem::take(&mut self.0))
        }
    }
    let mut host = TestHost::<Consuming>::configure("{}").unwrap();
    host.process(&spans(&["wait"]));
    host.snapshot();
}
