//! Tests of replies: they arrive as the guest gave them; the pipeline judges them.

use std::time::Duration;

use spandrel_pipeline::stage::{Dispatch, DrainReason, Generation as _, Instance as _};

use crate::setup::{generation, input, instance};

const FORWARD: u64 = 0;

/// A guest that keeps everything sends nothing, whatever the batch.
#[tokio::test]
async fn unchanged_is_an_empty_reply() {
    let mut instance = instance("unchanged").await;
    for spans in [0, 1, 200] {
        let reply = instance.process(1, &input(spans)).await.expect("a reply");
        assert!(reply.verdicts.is_empty() && reply.edits.is_empty() && reply.blob.is_empty());
        assert!(reply.emission.is_none());
    }
}

/// The generation keeps the manifest that the guest gave.
#[tokio::test]
async fn the_manifest_is_the_guests() {
    let generation = generation("hold_all").await;
    let manifest = generation.manifest();
    assert_eq!(manifest.name, "hold_all");
    assert_eq!(manifest.version, "1.0.0");
    assert_eq!(manifest.dispatch, Dispatch::Any);
    assert_eq!(manifest.tick_interval, Some(Duration::from_millis(50)));
    assert_eq!(manifest.drop_reasons, ["test"]);
    assert!(manifest.holds);
    assert_eq!(generation.number(), 1);
}

/// A tick releases held items, and a drain releases the rest.
#[tokio::test]
async fn held_items_are_released_by_tick_and_drain() {
    let mut instance = instance("hold_all").await;
    let reply = instance.process(7, &input(2)).await.expect("a reply");
    assert_eq!(reply.verdicts, [1, 1]);
    let emission = instance.tick().await.expect("an emission");
    assert_eq!(emission.released, [7, FORWARD << 32, 7, FORWARD << 32 | 1]);
    instance.process(8, &input(1)).await.expect("a reply");
    let drained = instance
        .drain(DrainReason::Shutdown, Duration::from_secs(1))
        .await
        .expect("an emission");
    assert_eq!(drained.released, [8, FORWARD << 32]);
    assert!(instance.tick().await.expect("an emission").is_empty());
}

/// The guests with bad replies send the replies that the pipeline's tests rely on.
#[tokio::test]
async fn bad_replies_arrive_as_they_are() {
    for (name, verdicts, edits) in [
        ("verdicts_wrong_length", vec![0; 4], vec![]),
        ("verdicts_unknown_reason", vec![9; 3], vec![]),
        ("edits_out_of_range", vec![], vec![2, 3, 1000, 10]),
        ("edits_unknown_operation", vec![], vec![99, 0, 0, 0]),
        ("hold_undeclared", vec![1; 3], vec![]),
        ("hold_forever", vec![1; 3], vec![]),
    ] {
        let mut instance = instance(name).await;
        let reply = instance.process(1, &input(3)).await.expect("a reply");
        assert_eq!(reply.verdicts, verdicts, "{name}");
        assert_eq!(reply.edits, edits, "{name}");
    }
    for (name, released, created) in [
        ("release_unknown", vec![1_000_001, 0], 0),
        ("release_twice", vec![], 0),
        ("created_garbage", vec![], 100),
    ] {
        let mut instance = instance(name).await;
        let reply = instance.process(1, &input(1)).await.expect("a reply");
        let emission = reply.emission.expect("an emission");
        assert_eq!(emission.released, released, "{name}");
        assert_eq!(emission.created.len(), created, "{name}");
        let reply = instance.process(2, &input(1)).await.expect("a reply");
        if name == "release_twice" {
            let emission = reply.emission.expect("an emission");
            assert_eq!(emission.released, [1, 0, 1, 0], "{name}");
        }
    }
}
