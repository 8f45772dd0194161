//! The numbers of the worked examples in `wit/README.md`.

use super::{FIRST, Script, Scripted};
use crate::instance::{Instance, Package};
use crate::prelude::*;
use crate::testing::TestBatch;

const PACKAGE: Package = Package {
    name: "contract",
    version: "1",
};

fn three_spans() -> Vec<u8> {
    ["a", "b", "c"]
        .into_iter()
        .fold(TestBatch::new().service("shop"), |batch, name| {
            batch.span(name, |span| span)
        })
        .bytes()
}

/// The reply shown on the page is the one that the SDK writes.
#[test]
fn the_worked_reply_is_true() {
    struct Worked;
    impl Script for Worked {
        fn process(_: &mut Vec<Held>, batch: &mut Batch) {
            for span in batch.spans() {
                match span.name() {
                    "b" => span.drop(FIRST),
                    _ => span.set_attribute("team", "shop"),
                }
            }
            for resource in batch.resources() {
                resource.delete_attribute("host.ip");
            }
        }
    }
    let (mut instance, _) = Instance::<Scripted<Worked>>::configure("", PACKAGE).unwrap();
    let reply = instance.process(7, three_spans(), false);
    assert_eq!(reply.verdicts, [0x00, 0x02, 0x00]);
    assert_eq!(reply.edits, [0, 0, 0, 14, 0, 2, 0, 14, 7, 0, 14, 7]);
    assert_eq!(
        reply.blob,
        b"\x0a\x04\x74\x65\x61\x6d\x12\x06\x0a\x04\x73\x68\x6f\x70host.ip"
    );
    assert!(reply.emission.is_none());
}

/// The emission shown on the page is the one that the SDK writes.
#[test]
fn the_worked_emission_is_true() {
    struct Worked;
    impl Script for Worked {
        fn process(_: &mut Vec<Held>, _: &mut Batch) {}
        fn tick(_: &mut Vec<Held>) {
            Held::from((7, 3)).forward_with(|edits| {
                edits.set_name("a");
            });
            Held::from((7, 4)).drop(FIRST);
        }
    }
    let (mut instance, _) = Instance::<Scripted<Worked>>::configure("", PACKAGE).unwrap();
    let emission = instance.tick();
    assert_eq!(
        emission.released,
        [7, 0x0000_0000_0000_0003, 7, 0x0000_0002_0000_0004]
    );
    assert_eq!(emission.edits, [2, 0, 0, 1]);
    assert_eq!(emission.blob, [0x61]);
    assert!(emission.created.is_empty());
}

/// A manifest contains what the plugin declared, and the package's name and version by default.
#[test]
fn manifests_say_what_the_plugin_said() {
    struct Nothing;
    impl Script for Nothing {
        fn process(_: &mut Vec<Held>, _: &mut Batch) {}
    }
    let (_, manifest) = Instance::<Scripted<Nothing>>::configure("", PACKAGE).unwrap();
    assert_eq!((&*manifest.name, &*manifest.version), ("contract", "1"));
    assert_eq!(manifest.drop_reasons, ["first", "second"]);
    assert!(manifest.holds);
    assert_eq!((manifest.tick_interval_ms, manifest.state_version), (0, 0));
    assert_eq!(manifest.signals.len(), 1);
}
