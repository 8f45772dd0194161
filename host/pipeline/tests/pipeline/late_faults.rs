//! Tests of plugins that fail shortly before a change, in the middle of it, or at the end.

use std::sync::Arc;
use std::time::Duration;

use spandrel_pipeline::pipeline::Pipeline;
use spandrel_pipeline::stage::{Mode, Share, StageSpec, StateTransfer};

use crate::edges::*;
use crate::stateful_plugin::{Event, StatefulPlugin, Way, swapped, with_candidate};

async fn pipeline(spec: &StageSpec, backend: &Arc<Backend>) -> Pipeline {
    let config = config(vec![spec.clone()], vec![exporter(backend, 1000)]);
    Pipeline::build(config).await.unwrap()
}

async fn change(pipeline: &Pipeline, spec: StageSpec) -> StateTransfer {
    let changed = pipeline.change(vec![spec]).await.unwrap();
    changed.carried["a"].clone()
}

fn deduplicating(number: u64) -> StatefulPlugin {
    StatefulPlugin {
        dedups: true,
        ..StatefulPlugin::holding(number)
    }
}

/// If a generation that inherited held items fails, and is rolled back before it has an instance
/// again, the items are not offered to the generation before: it knows them from its own state.
#[tokio::test(start_paused = true)]
async fn a_rollback_after_a_fault_offers_nothing_that_is_known() {
    let backend = Backend::new([]);
    let good = deduplicating(1);
    let bad = StatefulPlugin {
        number: 2,
        fails_on: |id| id == 13,
        ..good.clone()
    };
    let spec = good.stage("a");
    let pipeline = pipeline(&spec, &backend).await;
    offer(&pipeline, spans([1, 2])).await.unwrap();
    let next = swapped(&spec, &bad.generation());
    assert_eq!(change(&pipeline, next).await, StateTransfer::Done);
    offer(&pipeline, spans([13])).await.unwrap();
    let back = swapped(&spec, &spec.generation);
    assert_eq!(change(&pipeline, back).await, StateTransfer::Earlier);
    tokio::time::sleep(Duration::from_secs(3)).await;
    offer(&pipeline, spans([999])).await.unwrap();
    assert_eq!(good.diary.saw(1), [vec![1, 2], vec![999]]);
    assert!(dropped(&pipeline, 0).is_empty());
    drain(pipeline).await;
    assert_eq!(backend.taken(), [1, 2, 13, 999]);
}

/// The same happens, but the instance after the failed one was offered the held items, and leaves
/// no state: the generation before has seen these items, and would drop them. They go on unchanged.
#[tokio::test(start_paused = true)]
async fn a_rollback_drops_nothing_that_was_offered_between() {
    let backend = Backend::new([]);
    let good = deduplicating(1);
    let bad = StatefulPlugin {
        number: 2,
        fails_on: |id| id == 13,
        snapshot: Way::Refuses,
        ..good.clone()
    };
    let spec = good.stage("a");
    let pipeline = pipeline(&spec, &backend).await;
    offer(&pipeline, spans([1, 2])).await.unwrap();
    let next = swapped(&spec, &bad.generation());
    change(&pipeline, next).await;
    offer(&pipeline, spans([13])).await.unwrap();
    offer(&pipeline, spans([3])).await.unwrap();
    assert_eq!(good.diary.saw(2), [[13].as_slice(), &[1, 2], &[3]]);
    let back = swapped(&spec, &spec.generation);
    assert_eq!(change(&pipeline, back).await, StateTransfer::Earlier);
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(good.diary.saw(1), [[1, 2].as_slice(), &[3]]);
    assert_eq!(backend.taken(), [1, 2, 13]);
    let stage = pipeline.ledger().books().stages[0].clone();
    assert_eq!((stage.held, stage.bypassed), (1, 3));
    drain(pipeline).await;
    assert_eq!(backend.taken(), [1, 2, 3, 13]);
}

/// If the pipeline drains while held items are offered to a new instance that never returns, they
/// go on as the policy says, and nothing is abandoned.
#[tokio::test(start_paused = true)]
async fn a_drain_cuts_an_offer_off() {
    let backend = Backend::new([]);
    let plugin = StatefulPlugin {
        fails_on: |id| id == 13,
        lost_in: |batch| batch == [1, 2, 3],
        ..StatefulPlugin::holding(1)
    };
    let pipeline = pipeline(&plugin.stage("a"), &backend).await;
    offer(&pipeline, spans([1, 2])).await.unwrap();
    offer(&pipeline, spans([3])).await.unwrap();
    offer(&pipeline, spans([13])).await.unwrap();
    let ledger = Arc::clone(pipeline.ledger());
    drain(pipeline).await;
    assert_eq!(plugin.diary.saw(1).last(), Some(&vec![1, 2, 3]));
    let books = ledger.books();
    assert_eq!((books.abandoned(), books.stages[0].bypassed), (0, 4));
    assert_eq!(backend.taken(), [1, 2, 3, 13]);
}

/// Items that a failed instance held are offered to the next one, one request at a time, and
/// incoming batches do not wait for all of them.
#[tokio::test(start_paused = true)]
async fn offers_do_not_keep_batches_waiting() {
    let backend = Backend::new([]);
    let plugin = StatefulPlugin {
        fails_on: |id| id == 88_888,
        ..StatefulPlugin::holding(1)
    };
    let pipeline = pipeline(&plugin.stage("a"), &backend).await;
    for batch in 0..4 {
        let ids = batch * 5000 + 1000..batch * 5000 + 6000;
        offer(&pipeline, spans(ids)).await.unwrap();
    }
    offer(&pipeline, spans([88_888])).await.unwrap();
    offer(&pipeline, spans([50_000])).await.unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    let sizes: Vec<usize> = plugin.diary.saw(1).iter().map(Vec::len).collect();
    assert_eq!(sizes[5..], [8192, 1808, 1, 8192, 1808]);
    assert_eq!(pipeline.ledger().books().held(), 20_001);
    drain(pipeline).await;
    assert_eq!(backend.taken().len(), 20_002);
}

/// If copying the state for a trial fails, that does not count as a fault of the generation in its
/// work, it is not asked again, and the items that its instance held are offered to the next one.
#[tokio::test(start_paused = true)]
async fn a_trial_is_not_held_against_who_runs() {
    let backend = Backend::new([]);
    let plugin = StatefulPlugin {
        snapshot: Way::Traps,
        ..StatefulPlugin::holding(1)
    };
    let pipeline = pipeline(&plugin.stage("a"), &backend).await;
    offer(&pipeline, spans([1, 2])).await.unwrap();
    for _ in 0..10 {
        assert_eq!(pipeline.snapshot("a").await, None);
        tokio::time::sleep(Duration::from_secs(2)).await;
    }
    let asked = (1, Event::Snapshot);
    let diary = plugin.diary.read();
    assert_eq!(diary.iter().filter(|entry| **entry == asked).count(), 1);
    assert_eq!(plugin.diary.saw(1), [[1, 2], [1, 2]]);
    let stage = pipeline.ledger().books().stages[0].clone();
    assert_eq!((stage.faults, stage.breakers_open), ([0; 4], 0));
    assert_eq!((stage.generation(1).unwrap().faults, stage.held), (0, 2));
    drain(pipeline).await;
    assert_eq!(backend.taken(), [1, 2]);
}

/// Makes a canary of half the traces beside `first`; each has seen a part of a hundred spans.
async fn halved(
    first: &StatefulPlugin,
    second: StatefulPlugin,
    backend: &Arc<Backend>,
) -> (Pipeline, StageSpec) {
    let second = StatefulPlugin {
        number: 2,
        diary: first.diary.clone(),
        ..second
    };
    let spec = first.stage("a");
    let pipeline = pipeline(&spec, backend).await;
    let share = Mode::Canary(Share::from_percent(50.0).unwrap());
    let row = with_candidate(&spec, &second.generation(), share);
    pipeline.change(vec![row]).await.unwrap();
    offer(&pipeline, spans(0..100)).await.unwrap();
    (pipeline, spec)
}

/// If the running generation has failed a moment ago when a canary is cancelled, its new instance
/// gets the canary's state.
#[tokio::test(start_paused = true)]
async fn a_state_finds_an_instance() {
    let backend = Backend::new([]);
    let first = StatefulPlugin {
        fails_on: |id| id >= 100,
        ..deduplicating(1)
    };
    let (pipeline, spec) = halved(&first, deduplicating(2), &backend).await;
    let of_canary = first.diary.saw(2).concat();
    for id in 100.. {
        offer(&pipeline, spans([id])).await.unwrap();
        if first.diary.saw(1).last() == Some(&vec![id]) {
            break;
        }
    }
    assert_eq!(change(&pipeline, spec).await, StateTransfer::Done);
    offer(&pipeline, spans(of_canary.clone())).await.unwrap();
    let known = of_canary.len() as u64;
    assert_eq!(dropped(&pipeline, 0)["duplicate"], known);
    drain(pipeline).await;
    let mut taken = backend.taken();
    taken.retain(|id| *id < 100);
    assert_eq!(taken, (0..100).collect::<Vec<_>>());
}

/// If the running generation fails on the state of a cancelled canary, it goes on with its own
/// state and held items, and is offered the items that the canary held.
#[tokio::test(start_paused = true)]
async fn a_poisonous_canary_takes_nothing_with_it() {
    let backend = Backend::new([]);
    let first = StatefulPlugin {
        restore: Way::TrapsOnOthers,
        ..deduplicating(1)
    };
    let (pipeline, spec) = halved(&first, deduplicating(2), &backend).await;
    let of_canary = first.diary.saw(2).concat();
    let carried = change(&pipeline, spec).await;
    assert!(matches!(carried, StateTransfer::Failed(_)), "{carried:?}");
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(first.diary.saw(1)[1..], [of_canary]);
    assert_eq!(pipeline.ledger().books().held(), 100);
    offer(&pipeline, spans(0..100)).await.unwrap();
    assert_eq!(dropped(&pipeline, 0)["duplicate"], 100);
    offer(&pipeline, spans([999])).await.unwrap();
    let stage = pipeline.ledger().books().stages[0].clone();
    assert_eq!((stage.faults, stage.bypassed), ([1, 0, 0, 0], 0));
    drain(pipeline).await;
    assert_eq!(backend.taken(), (0..100).chain([999]).collect::<Vec<_>>());
}

/// Swaps that come faster than ticks do not prevent the ticks.
#[tokio::test(start_paused = true)]
async fn time_goes_on_through_swaps() {
    let backend = Backend::new([]);
    let first = StatefulPlugin {
        tick: Some(Duration::from_secs(1)),
        ..StatefulPlugin::holding(1)
    };
    let spec = first.stage("a");
    let pipeline = pipeline(&spec, &backend).await;
    offer(&pipeline, spans([1, 2])).await.unwrap();
    for number in 2..5 {
        tokio::time::sleep(Duration::from_millis(600)).await;
        let next = StatefulPlugin {
            number,
            ..first.clone()
        };
        change(&pipeline, swapped(&spec, &next.generation())).await;
    }
    assert_eq!(backend.taken(), [1, 2]);
    drain(pipeline).await;
}
