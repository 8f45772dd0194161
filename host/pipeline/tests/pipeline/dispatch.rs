//! The dispatch of batches to shards changes with the stages.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use spandrel_pipeline::pipeline::{Pipeline, PipelineConfig};
use spandrel_pipeline::stage::{Dispatch, StageSpec};

use crate::edges::*;
use crate::stateful_plugin::{StatefulPlugin, Way, swapped};

fn on(backend: &Arc<Backend>, spec: StageSpec) -> PipelineConfig {
    let mut config = config(Vec::new(), vec![exporter(backend, 1000)]);
    config.stages = vec![spec];
    config.shards = 4;
    config
}

/// Makes a generation that drops items that its own instance has seen before. Its drops show which
/// shard a trace has been on.
fn deduplicating(number: u64, dispatch: Dispatch) -> StatefulPlugin {
    StatefulPlugin {
        number,
        dispatch,
        dedups: true,
        ..StatefulPlugin::default()
    }
}

async fn send(pipeline: &Arc<Pipeline>, ids: impl Iterator<Item = u64>) {
    for id in ids {
        offer(pipeline, spans([id, id + 1])).await.unwrap();
    }
}

/// The dispatch changes from `any` to by-trace in the middle of traffic: from the first batch that
/// the new generation sees, every trace is on one shard, so each duplicate is detected.
#[tokio::test(start_paused = true)]
async fn any_to_by_trace() {
    let backend = Backend::new([]);
    let loose = StatefulPlugin {
        snapshot: Way::Refuses,
        ..StatefulPlugin::default()
    };
    let strict = deduplicating(2, Dispatch::ByTrace);
    let spec = loose.stage("a");
    let pipeline = Arc::new(Pipeline::build(on(&backend, spec.clone())).await.unwrap());
    let mut senders = tokio::task::JoinSet::new();
    for sender in 0..8_u64 {
        let pipeline = Arc::clone(&pipeline);
        senders
            .spawn(async move { send(&pipeline, (0..200).map(|n| (n * 7 + sender) % 50)).await });
    }
    tokio::task::yield_now().await;
    let next = swapped(&spec, &strict.generation());
    pipeline.change(vec![next]).await.unwrap();
    senders.join_all().await;
    let saw = strict.diary.saw(2).concat();
    assert!(saw.len() > 100, "in the middle of it");
    let mut times = HashMap::<u64, u64>::new();
    saw.iter()
        .for_each(|id| *times.entry(*id).or_default() += 1);
    let duplicates: u64 = times.values().map(|times| times - 1).sum();
    assert_eq!(dropped(&pipeline, 0)["duplicate"], duplicates);
    let Ok(pipeline) = Arc::try_unwrap(pipeline) else {
        panic!("senders are gone")
    };
    drain(pipeline).await;
}

/// With a change to a single instance, the items that the other shards held are let go, and
/// everything reaches one instance, which detects every duplicate from then on.
#[tokio::test(start_paused = true)]
async fn to_a_single_instance() {
    for before in [Dispatch::Any, Dispatch::ByTrace] {
        let backend = Backend::new([]);
        let first = StatefulPlugin {
            dispatch: before,
            ..StatefulPlugin::holding(1)
        };
        let second = StatefulPlugin {
            dispatch: Dispatch::Single,
            holds: None,
            ..deduplicating(2, Dispatch::Single)
        };
        let spec = first.stage("a");
        let pipeline = Arc::new(Pipeline::build(on(&backend, spec.clone())).await.unwrap());
        send(&pipeline, 0..40).await;
        let held = pipeline.ledger().books().held();
        assert_eq!(held, 80);
        pipeline
            .change(vec![swapped(&spec, &second.generation())])
            .await
            .unwrap();
        tokio::time::sleep(Duration::from_secs(1)).await;
        let left = pipeline.ledger().books().held();
        assert!(left < held, "{left} held of the first shard only");
        send(&pipeline, 100..150).await;
        assert_eq!(dropped(&pipeline, 0)["duplicate"], 49, "{before:?}");
        let Ok(pipeline) = Arc::try_unwrap(pipeline) else {
            panic!("nobody else")
        };
        drain(pipeline).await;
        let mut taken = backend.taken();
        taken.dedup();
        assert_eq!(taken, (0..=40).chain(100..=150).collect::<Vec<_>>());
    }
}

/// The dispatch returns to `any` once no stage is left with state by trace, and not before.
#[tokio::test(start_paused = true)]
async fn looser_when_nothing_lies_by_trace() {
    let backend = Backend::new([]);
    let strict = deduplicating(1, Dispatch::ByTrace);
    let loose = StatefulPlugin::default();
    let (a, b) = (strict.stage("a"), loose.stage("b"));
    let pipeline = Pipeline::build(on(&backend, a.clone())).await.unwrap();
    let looser = StatefulPlugin {
        number: 2,
        dispatch: Dispatch::Any,
        ..strict.clone()
    };
    let spread = async |ids: std::ops::Range<u64>| {
        let before = loose.diary.read().len();
        for id in ids {
            offer(&pipeline, traced([(1, id)])).await.unwrap();
        }
        loose.diary.read().len() - before
    };
    pipeline.change(vec![a.clone(), b.clone()]).await.unwrap();
    assert_eq!(spread(0..8).await, 8);
    // The same trace goes to the same shard: its instance detects every duplicate.
    for id in 0..8 {
        offer(&pipeline, traced([(1, id)])).await.unwrap();
    }
    assert_eq!(dropped(&pipeline, 0)["duplicate"], 8);
    // Its state is by trace: the dispatch stays, and duplicates are detected.
    let next = swapped(&a, &looser.generation());
    pipeline.change(vec![next, b.clone()]).await.unwrap();
    for id in 0..8 {
        offer(&pipeline, traced([(1, id)])).await.unwrap();
    }
    assert_eq!(dropped(&pipeline, 0)["duplicate"], 16);
    pipeline.change(vec![b]).await.unwrap();
    assert_eq!(spread(10..14).await, 4, "on any shard");
    drain(pipeline).await;
}

/// While everything goes to one shard, that shard has the whole hold limit, and the others have no
/// instances; they get new ones when batches come to them again.
#[tokio::test(start_paused = true)]
async fn idle_shards_have_nothing() {
    let backend = Backend::new([]);
    let holder = StatefulPlugin::holding(1);
    let single = StatefulPlugin {
        number: 2,
        dispatch: Dispatch::Single,
        ..StatefulPlugin::default()
    };
    let mut a = holder.stage("a");
    a.hold.items = 8;
    let b = single.stage("b");
    let pipeline = Pipeline::build(on(&backend, a.clone())).await.unwrap();
    pipeline.change(vec![a.clone(), b.clone()]).await.unwrap();
    assert_eq!((holder.diary.made(1), single.diary.made(2)), (4, 1));
    offer(&pipeline, spans(0..8)).await.unwrap();
    assert_eq!(pipeline.ledger().books().held(), 8);
    let next = StatefulPlugin {
        number: 3,
        ..holder.clone()
    };
    let a = swapped(&a, &next.generation());
    pipeline.change(vec![a.clone(), b]).await.unwrap();
    assert_eq!(holder.diary.made(3), 1);
    pipeline.change(vec![a]).await.unwrap();
    assert_eq!(holder.diary.made(3), 4);
    for id in 8..12 {
        offer(&pipeline, spans([id])).await.unwrap();
    }
    // The first shard is over its quarter of the limit now, and its plugin lets go.
    assert_eq!(pipeline.ledger().books().held(), 3);
    drain(pipeline).await;
    assert_eq!(backend.taken(), (0..12).collect::<Vec<_>>());
}
