//! Tests of changes to the row of stages: stages are added, removed and reordered; some changes
//! cannot be made.

use std::sync::Arc;
use std::time::Duration;

use spandrel_pipeline::pipeline::{AckOn, ChangeError, Pipeline, PipelineConfig};
use spandrel_pipeline::stage::{DrainReason, Mode, Share, StageSpec};
use tokio::time::Instant;

use crate::edges::*;
use crate::stateful_plugin::{Event, StatefulPlugin, swapped, with_candidate};

fn on(backend: &Arc<Backend>, stages: Vec<StageSpec>) -> PipelineConfig {
    let mut config = config(Vec::new(), vec![exporter(backend, 100)]);
    config.stages = stages;
    config
}

/// Returns the names of the stages, in the order of the books.
fn order(pipeline: &Pipeline) -> Vec<String> {
    let books = pipeline.ledger().books();
    let mut stages: Vec<_> = books
        .stages
        .iter()
        .filter_map(|stage| Some((stage.position?, stage.name.clone())))
        .collect();
    stages.sort();
    stages.into_iter().map(|(_, name)| name).collect()
}

/// Stages are added at the front, in the middle and at the end, and change places; each batch after
/// a change goes through all of them, and stages that were there before keep their instances.
#[tokio::test(start_paused = true)]
async fn stages_come_and_change_places() {
    let backend = Backend::new([]);
    let plugins = ["a", "b", "c", "d"].map(|name| (StatefulPlugin::default(), name));
    let [a, b, c, d] = plugins.each_ref().map(|(plugin, name)| plugin.stage(name));
    let row = |stages: &[&StageSpec]| stages.iter().map(|&spec| spec.clone()).collect::<Vec<_>>();
    let rows = [
        row(&[&b]),
        row(&[&a, &b]),
        row(&[&a, &b, &d]),
        row(&[&a, &b, &c, &d]),
        row(&[&d, &b, &a, &c]),
    ];
    let pipeline = Pipeline::build(on(&backend, Vec::new())).await.unwrap();
    offer(&pipeline, spans([0])).await.unwrap();
    for (id, row) in (1..).zip(&rows) {
        pipeline.change(row.clone()).await.unwrap();
        let names: Vec<_> = row.iter().map(|spec| spec.name.clone()).collect();
        assert_eq!(order(&pipeline), names);
        offer(&pipeline, spans([id])).await.unwrap();
    }
    for ((plugin, name), first) in plugins.iter().zip([2, 1, 4, 3]) {
        let saw: Vec<_> = (first..=5).map(|id| vec![id]).collect();
        assert_eq!(
            (plugin.diary.made(1), plugin.diary.saw(1)),
            (1, saw),
            "{name}"
        );
    }
    drain(pipeline).await;
    assert_eq!(backend.taken(), (0..=5).collect::<Vec<_>>());
}

/// A stage that is removed is asked to let go; its held items go through the stages behind it, and
/// it may come back as a new stage.
#[tokio::test(start_paused = true)]
async fn a_stage_that_goes_lets_go() {
    let backend = Backend::new([]);
    let holder = StatefulPlugin::holding(1);
    let behind = StatefulPlugin::default();
    let (a, b) = (holder.stage("a"), behind.stage("b"));
    let pipeline = Pipeline::build(on(&backend, vec![a.clone(), b.clone()]))
        .await
        .unwrap();
    offer(&pipeline, spans([1, 2])).await.unwrap();
    pipeline.change(vec![b.clone()]).await.unwrap();
    tokio::time::sleep(Duration::from_millis(10)).await;
    assert_eq!(backend.taken(), [1, 2]);
    assert_eq!(behind.diary.saw(1), [[1, 2]]);
    assert!(
        holder
            .diary
            .read()
            .contains(&(1, Event::Drained(DrainReason::Swap)))
    );
    let books = pipeline.ledger().books();
    assert_eq!((books.held(), books.stages[0].held_bytes), (0, 0));
    pipeline.change(Vec::new()).await.unwrap();
    assert_eq!(order(&pipeline), [""; 0]);
    offer(&pipeline, spans([3])).await.unwrap();
    pipeline.change(vec![b, a]).await.unwrap();
    offer(&pipeline, spans([4])).await.unwrap();
    assert_eq!((holder.diary.made(1), behind.diary.made(1)), (2, 2));
    assert_eq!(
        pipeline.ledger().books().stages.len(),
        2,
        "in their own columns"
    );
    drain(pipeline).await;
    assert_eq!(backend.taken(), [1, 2, 3, 4]);
}

/// If an instance cannot be made on the last of three shards, everything stays as it was.
#[tokio::test(start_paused = true)]
async fn all_or_nothing() {
    let backend = Backend::new([]);
    let first = StatefulPlugin::default();
    let a = first.stage("a");
    let mut config = on(&backend, vec![a.clone()]);
    config.shards = 3;
    let pipeline = Pipeline::build(config).await.unwrap();
    offer(&pipeline, spans([1])).await.unwrap();
    let second = StatefulPlugin {
        number: 2,
        instances: 2,
        ..StatefulPlugin::default()
    };
    let third = StatefulPlugin::default();
    let row = vec![third.stage("b"), swapped(&a, &second.generation())];
    let error = pipeline.change(row).await.unwrap_err();
    assert!(
        matches!(&error, ChangeError::Instantiate { stage, .. } if stage == "a"),
        "{error}"
    );
    assert_eq!(order(&pipeline), ["a"]);
    assert!(
        pipeline.sample("a").await.is_some(),
        "what there was to see is there"
    );
    offer(&pipeline, spans([2])).await.unwrap();
    drain(pipeline).await;
    assert_eq!(first.diary.saw(1).len(), 2);
    assert_eq!(first.diary.made(1), 3);
    assert_eq!(backend.taken(), [1, 2]);
}

/// With `ack_on: export` no generation that holds is accepted, not even beside another.
#[tokio::test(start_paused = true)]
async fn ack_on_export_refuses_candidates_that_hold() {
    let backend = Backend::new([]);
    let a = StatefulPlugin::default().stage("a");
    let mut config = on(&backend, vec![a.clone()]);
    config.ack_on = AckOn::Export;
    let pipeline = Pipeline::build(config).await.unwrap();
    let holding = StatefulPlugin::holding(2).generation();
    let share = Share::from_percent(1.0).unwrap();
    for row in [
        swapped(&a, &holding),
        with_candidate(&a, &holding, Mode::Canary(share)),
        with_candidate(&a, &holding, Mode::Shadow),
    ] {
        let error = pipeline.change(vec![row]).await.unwrap_err();
        assert!(
            matches!(error, ChangeError::AckOnExportWithHolds { .. }),
            "{error}"
        );
    }
    offer(&pipeline, spans([1])).await.unwrap();
    drain(pipeline).await;
    assert_eq!(backend.taken(), [1]);
}

/// If a shard waits with a plugin's released items for the full queue of a dead backend, a change
/// gives up after ten seconds and nothing has changed; once the backend works, the change works.
#[tokio::test(start_paused = true)]
async fn a_stuck_shard_is_not_changed() {
    let backend = Backend::new([Reaction::Busy]);
    let first = StatefulPlugin {
        tick: Some(Duration::from_secs(1)),
        ..StatefulPlugin::holding(1)
    };
    let a = first.stage("a");
    let mut config = on(&backend, vec![a.clone()]);
    config.exporters = vec![exporter(&backend, 1)];
    config.exporters[0].queue.max_bytes = 100;
    let pipeline = Pipeline::build(config).await.unwrap();
    for id in 0..2 {
        offer(&pipeline, spans([id])).await.unwrap();
        tokio::time::sleep(Duration::from_millis(1500)).await;
    }
    let second = StatefulPlugin {
        number: 2,
        tick: None,
        ..StatefulPlugin::default()
    };
    let next = swapped(&a, &second.generation());
    let started = Instant::now();
    let error = pipeline.change(vec![next.clone()]).await.unwrap_err();
    assert!(matches!(error, ChangeError::Busy), "{error}");
    assert_eq!(started.elapsed().as_secs(), 10);
    assert_eq!(pipeline.stages().await[0].generation.number(), 1);
    backend.react(Reaction::Take);
    tokio::time::sleep(Duration::from_secs(120)).await;
    pipeline.change(vec![next]).await.unwrap();
    assert_eq!(pipeline.stages().await[0].generation.number(), 2);
    offer(&pipeline, spans([100])).await.unwrap();
    assert_eq!(second.diary.saw(2).last(), Some(&vec![100]));
    drain(pipeline).await;
}

/// A stage that is removed while the backend is dead makes its shard wait, and nobody else: the
/// stages can be read, and the change is reported as made, although late on that shard.
#[tokio::test(start_paused = true)]
async fn a_published_change_does_not_wait_for_ever() {
    let backend = Backend::new([Reaction::Hang]);
    let holder = StatefulPlugin::holding(1);
    let (a, b) = (holder.stage("a"), StatefulPlugin::default().stage("b"));
    let mut config = on(&backend, vec![a, b.clone()]);
    config.exporters = vec![exporter(&backend, 1)];
    config.exporters[0].queue.max_bytes = 100;
    let pipeline = Pipeline::build(config).await.unwrap();
    offer(&pipeline, spans([1])).await.unwrap();
    offer(&pipeline, spans([999])).await.unwrap();
    let started = Instant::now();
    let next = StatefulPlugin {
        number: 2,
        ..StatefulPlugin::default()
    };
    pipeline
        .change(vec![swapped(&b, &next.generation())])
        .await
        .unwrap();
    assert_eq!(started.elapsed().as_secs(), 10);
    assert_eq!(pipeline.stages().await.len(), 1);
    backend.react(Reaction::Take);
    let ledger = Arc::clone(pipeline.ledger());
    pipeline
        .drain(Instant::now() + Duration::from_secs(100))
        .await;
    let books = ledger.books();
    assert!(books.is_balanced() && books.is_settled(), "{ledger}");
    assert_eq!(books.abandoned + books.forwarded, 2, "{ledger}");
}

/// After the pipeline is closed nothing can be changed any more.
#[tokio::test(start_paused = true)]
async fn no_changes_while_draining() {
    let backend = Backend::new([]);
    let a = StatefulPlugin::default().stage("a");
    let pipeline = Pipeline::build(on(&backend, vec![a])).await.unwrap();
    pipeline.close();
    let error = pipeline.change(Vec::new()).await.unwrap_err();
    assert!(matches!(error, ChangeError::Draining), "{error}");
    drain(pipeline).await;
}

/// Polls a future this many times, then drops it. Returns true if it finished.
async fn polled<F: Future>(future: F, polls: usize) -> bool {
    let mut future = std::pin::pin!(future);
    for _ in 0..polls {
        let step = std::future::poll_fn(|context| {
            std::task::Poll::Ready(future.as_mut().poll(context).is_ready())
        });
        if step.await {
            return true;
        }
        tokio::task::yield_now().await;
    }
    false
}

/// If a change is dropped at any of its steps, and then a drain or another change and a drain
/// follow, nothing is lost, and the pipeline has either the old stages or the new ones.
#[tokio::test(start_paused = true)]
async fn a_change_may_be_dropped_at_any_step() {
    let mut longest = 0;
    for (from, again) in [(0, false), (0, true), (2, false), (2, true)] {
        for polls in 0..60 {
            let backend = Backend::new([]);
            let plugin = |number| StatefulPlugin {
                tick: None,
                ..StatefulPlugin::holding(number)
            };
            let (a, b) = (plugin(1).stage("a"), plugin(1).stage("b"));
            let mut config = on(&backend, [a.clone(), b].into_iter().take(from).collect());
            config.shards = 2;
            let pipeline = Pipeline::build(config).await.unwrap();
            for id in 0..10 {
                offer(&pipeline, spans([id])).await.unwrap();
            }
            let strict = StatefulPlugin {
                dispatch: spandrel_pipeline::stage::Dispatch::ByTrace,
                ..StatefulPlugin::holding(1)
            };
            let new = vec![strict.stage("c"), swapped(&a, &plugin(2).generation())];
            let done = polled(pipeline.change(new.clone()), polls).await;
            longest = longest.max(if done { 0 } else { polls });
            for id in 10..20 {
                offer(&pipeline, spans([id])).await.unwrap();
            }
            let stages = pipeline.stages().await;
            assert!(
                stages.len() == from || stages[0].name == "c",
                "{polls} polls"
            );
            if again {
                let mut new = new;
                new.reverse();
                pipeline.change(new).await.unwrap();
                let names: Vec<_> = pipeline
                    .stages()
                    .await
                    .into_iter()
                    .map(|spec| spec.name)
                    .collect();
                assert_eq!(names, ["a", "c"], "{polls} polls");
                offer(&pipeline, spans(20..30)).await.unwrap();
            }
            drain(pipeline).await;
            let sent = if again { 30 } else { 20 };
            assert_eq!(
                backend.taken(),
                (0..sent).collect::<Vec<_>>(),
                "{polls} polls"
            );
        }
    }
    assert!(
        (5..60).contains(&longest),
        "{longest} steps: all of them were tried"
    );
}

/// If other stages change sides with a stage that holds items, those items have been through each
/// stage exactly once when they come out. Items that it holds while the rest moves stay.
#[tokio::test(start_paused = true)]
async fn what_is_held_goes_through_each_stage_once() {
    let backend = Backend::new([]);
    let in_front = StatefulPlugin {
        dedups: true,
        ..StatefulPlugin::default()
    };
    let (holder, behind, new) = (
        StatefulPlugin::holding(1),
        StatefulPlugin::default(),
        StatefulPlugin::default(),
    );
    let stages = [
        (&in_front, "a"),
        (&holder, "b"),
        (&behind, "c"),
        (&new, "d"),
    ];
    let [a, b, c, d] = stages.map(|(plugin, name)| plugin.stage(name));
    let row = vec![a.clone(), b.clone(), c.clone()];
    let pipeline = Pipeline::build(on(&backend, row)).await.unwrap();
    offer(&pipeline, spans([1, 2])).await.unwrap();
    pipeline
        .change(vec![d.clone(), a.clone(), b.clone(), c.clone()])
        .await
        .unwrap();
    assert_eq!(pipeline.ledger().books().held(), 2);
    pipeline.change(vec![c, b, a, d]).await.unwrap();
    tokio::time::sleep(Duration::from_millis(10)).await;
    assert_eq!(backend.taken(), [1, 2]);
    assert_eq!(behind.diary.saw(1), [[1, 2]]);
    assert_eq!(in_front.diary.saw(1), [[1, 2]]);
    assert_eq!(new.diary.saw(1), [[0; 0]; 0]);
    drain(pipeline).await;
    assert_eq!(backend.taken(), [1, 2]);
}
