//! The host learns what plugins read, and a projection reads like the batch.

use super::*;
use crate::bindings::spandrel::plugin::types;
use crate::host::double;

const PACKAGE: Package = Package {
    name: "reader",
    version: "1",
};

/// Returns the reads that a plugin reported.
fn said(reply: &types::Reply) -> Option<(bool, Vec<&str>, bool)> {
    let reads = reply.reads.as_ref()?;
    let keys = reads.attributes.iter().map(String::as_str).collect();
    Some((reads.fields, keys, reads.whole))
}

fn spans() -> TestBatch {
    (0..4).fold(TestBatch::new().service("shop"), |batch, number| {
        batch.span(&format!("span {number}"), |span| {
            let span = span.attribute("a", number).trace(7).error("no");
            if number == 2 {
                span.attribute("rare", "x")
            } else {
                span
            }
        })
    })
}

/// A reply reports each kind of read once, whether or not it found something. A plugin that reads
/// nothing of spans reports that, too.
#[test]
fn reads_are_told_once() {
    struct Reader;
    impl Script for Reader {
        fn process(_: &mut Vec<Held>, batch: &mut Batch) {
            for span in batch.spans() {
                assert_eq!(span.resource().service_name(), Some("shop"));
                match double::with(|double| double.seed) {
                    0 => {}
                    1 => {
                        assert!(span.attribute("absent").is_none() && span.attribute("a").is_some())
                    }
                    2 => assert_eq!(span.trace_id(), 7_u128.to_be_bytes()),
                    3 => assert!(span.attributes().count() > 0),
                    _ => assert!(span.bytes().len() > 40),
                }
            }
        }
    }
    double::reset();
    let (mut instance, _) = Instance::<Scripted<Reader>>::configure("", PACKAGE).unwrap();
    let mut tell = |seed| {
        double::seed(seed);
        instance.process(1, spans().bytes(), false)
    };
    assert_eq!(said(&tell(0)), Some((false, vec![], false)));
    assert_eq!(said(&tell(0)), None);
    assert_eq!(said(&tell(1)), Some((false, vec!["a", "absent"], false)));
    assert_eq!(said(&tell(1)), None);
    assert_eq!(said(&tell(2)), Some((true, vec![], false)));
    assert_eq!(said(&tell(3)), Some((false, vec![], true)));
    assert_eq!(said(&tell(4)), None);
}

/// Every read of a projection gives the same result as on the batch. Reading what is in it costs
/// nothing. The first read of anything else fetches the batch, once, and is reported.
#[test]
fn a_projection_reads_like_the_batch() {
    struct Reader;
    impl Script for Reader {
        fn process(_: &mut Vec<Held>, batch: &mut Batch) {
            let fetched = || double::with(|double| double.batch.is_none());
            for (span, number) in batch.spans().zip(0..) {
                assert_eq!(span.attribute("a"), Some(Value::Int(number)));
            }
            let step = double::with(|double| double.seed);
            assert!(step == 0 || !fetched());
            for span in batch.spans() {
                let number = span.index();
                match step {
                    0 => {}
                    1 => assert_eq!(span.attribute_str("rare"), (number == 2).then_some("x")),
                    2 => assert_eq!(span.name(), format!("span {number}")),
                    3 => assert!(span.is_error() && span.is_root()),
                    4 => assert_eq!(span.attributes().count(), 1 + usize::from(number == 2)),
                    5 => assert_eq!(span.events().count() + span.links().count(), 0),
                    6 => assert_eq!((*span).name(), format!("span {number}")),
                    _ => {
                        let mut whole = Traces::new(batch.bytes()).spans();
                        assert!(whole.any(|placed| placed.span.attribute("rare").is_some()));
                    }
                }
            }
            assert!(step == 0 || fetched());
        }
    }
    for step in 1..8 {
        double::reset();
        let (mut instance, _) = Instance::<Scripted<Reader>>::configure("", PACKAGE).unwrap();
        let first = instance.process(1, spans().bytes(), false);
        assert_eq!(said(&first), Some((false, vec!["a"], false)));
        let mut reads = spandrel_wire::Reads::new();
        reads.add_key("a");
        let projection = spandrel_wire::Projection::new(&spans().bytes(), reads);
        double::seed(step);
        let whole = spans().bytes();
        double::with(|double| double.batch = Some(whole));
        let reply = instance.process(2, projection.bytes().to_vec(), true);
        let news = said(&reply);
        match step {
            1 => assert_eq!(news, Some((false, vec!["rare"], false))),
            2 | 3 => assert_eq!(news, Some((true, vec![], false))),
            _ => assert_eq!(news, Some((false, vec![], true))),
        }
    }
}

/// More keys than a projection accepts are reported as reading everything, so a plugin that looks
/// for keys that it makes up costs the host no more than that.
#[test]
fn very_many_keys_are_the_whole() {
    struct Reader;
    impl Script for Reader {
        fn process(_: &mut Vec<Held>, batch: &mut Batch) {
            for span in batch.spans() {
                for number in 0..100 {
                    assert!(span.attribute(&format!("key {number}")).is_none());
                }
            }
        }
    }
    let (mut instance, _) = Instance::<Scripted<Reader>>::configure("", PACKAGE).unwrap();
    let reply = instance.process(1, spans().bytes(), false);
    let (_, keys, whole) = said(&reply).unwrap();
    assert!(whole && keys.len() <= spandrel_wire::Reads::KEYS);
}
