//! Tests of one generation after another: its state, its held items, and its figures in the books.

use std::time::Duration;

use spandrel_pipeline::pipeline::Pipeline;
use spandrel_pipeline::stage::{FaultPolicy, StageSpec, StateTransfer};

use crate::edges::*;
use crate::stateful_plugin::{Event, StatefulPlugin, Way, swapped};

async fn pipeline(stages: Vec<StageSpec>, backend: &std::sync::Arc<Backend>) -> Pipeline {
    let mut config = config(Vec::new(), vec![exporter(backend, 100)]);
    config.stages = stages;
    Pipeline::build(config).await.unwrap()
}

/// Swaps the only stage to this generation, and returns the outcome for the state.
async fn swap(pipeline: &Pipeline, spec: StageSpec) -> StateTransfer {
    let name = spec.name.clone();
    let changed = pipeline.change(vec![spec]).await.unwrap();
    changed.carried[&name].clone()
}

/// A state is carried: duplicates across the swap are detected, and the new generation releases the
/// items that the old one held, under the same tickets.
#[tokio::test(start_paused = true)]
async fn state_and_held_items_are_carried() {
    let backend = Backend::new([]);
    let first = StatefulPlugin {
        dedups: true,
        ..StatefulPlugin::holding(1)
    };
    let second = StatefulPlugin {
        number: 2,
        ..first.clone()
    };
    let spec = first.stage("a");
    let pipeline = pipeline(vec![spec.clone()], &backend).await;
    offer(&pipeline, spans([1, 2, 3])).await.unwrap();
    let carried = swap(&pipeline, swapped(&spec, &second.generation())).await;
    assert_eq!(carried, StateTransfer::Done);
    assert_eq!(pipeline.ledger().books().held(), 3);
    offer(&pipeline, spans([2, 3, 4])).await.unwrap();
    assert_eq!(dropped(&pipeline, 0)["duplicate"], 2);
    // The plugin is told to release everything, and then holds the span that told it so.
    offer(&pipeline, spans([999])).await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(backend.taken(), [1, 2, 3, 4]);
    let stage = pipeline.ledger().books().stages[0].clone();
    assert_eq!((stage.faults, stage.held), ([0; 4], 1));
    assert_eq!(
        first.diary.saw(2),
        [vec![2, 3, 4], vec![999]],
        "nothing was offered again"
    );
    drain(pipeline).await;
    assert_eq!(backend.taken(), [1, 2, 3, 4, 999]);
}

/// If no state is accepted, held items are offered to the new generation as a batch: this holds if
/// there is no state, if the new generation refuses it, or if either of the two traps.
#[tokio::test(start_paused = true)]
async fn held_items_are_offered_where_no_state_is_carried() {
    let cases = [
        (Way::Refuses, Way::Works, "NoState", 0, 0),
        (Way::Works, Way::Refuses, "cannot read this", 0, 0),
        (Way::Traps, Way::Works, "in `snapshot`", 1, 0),
        (Way::Works, Way::Traps, "in `restore`", 0, 1),
    ];
    for (snapshot, restore, says, old_faults, new_faults) in cases {
        let backend = Backend::new([]);
        let first = StatefulPlugin {
            snapshot,
            ..StatefulPlugin::holding(1)
        };
        let second = StatefulPlugin {
            number: 2,
            restore,
            ..first.clone()
        };
        let spec = first.stage("a");
        let pipeline = pipeline(vec![spec.clone()], &backend).await;
        offer(&pipeline, spans([1, 2])).await.unwrap();
        offer(&pipeline, spans([3])).await.unwrap();
        let carried = swap(&pipeline, swapped(&spec, &second.generation())).await;
        assert!(format!("{carried:?}").contains(says), "{carried:?}");
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(first.diary.saw(2), [vec![1, 2, 3]], "{says}");
        let books = pipeline.ledger().books();
        let faults = |number| books.stages[0].generation(number).unwrap().faults;
        assert_eq!((faults(1), faults(2)), (old_faults, new_faults), "{says}");
        assert_eq!((books.held(), books.stages[0].bypassed), (3, 0), "{says}");
        offer(&pipeline, spans([999])).await.unwrap();
        drain(pipeline).await;
        assert_eq!(backend.taken(), [1, 2, 3, 999], "{says}");
    }
}

/// After a swap from a generation with an open breaker and batches in quarantine to one that works,
/// the next batch reaches the new one, and the books have no open breaker any more.
#[tokio::test(start_paused = true)]
async fn breaker_and_quarantine_begin_anew() {
    let backend = Backend::new([]);
    let bad = StatefulPlugin {
        fails_on: |_| true,
        ..StatefulPlugin::default()
    };
    let good = StatefulPlugin {
        number: 2,
        fails_on: |_| false,
        ..bad.clone()
    };
    let spec = StageSpec {
        on_fault: FaultPolicy::Refuse,
        ..bad.stage("a")
    };
    let pipeline = pipeline(vec![spec.clone()], &backend).await;
    for _ in 0..5 {
        offer(&pipeline, spans([1])).await.unwrap_err();
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    for id in 2..5 {
        offer(&pipeline, spans([id])).await.unwrap_err();
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let stage = pipeline.ledger().books().stages[0].clone();
    assert_eq!((stage.breakers_open, stage.quarantined), (1, 1));
    swap(&pipeline, swapped(&spec, &good.generation())).await;
    let stage = pipeline.ledger().books().stages[0].clone();
    assert_eq!((stage.breakers_open, stage.quarantined), (0, 0));
    offer(&pipeline, spans([1])).await.unwrap();
    drain(pipeline).await;
    assert_eq!(backend.taken(), [1]);
}

/// If a generation that leaves no state is rolled back, the one before gets the state with which it
/// ended, and goes on with those of its items that are still held. It is not a fault if it names
/// items that are long gone.
#[tokio::test(start_paused = true)]
async fn a_rollback_falls_back_on_the_retained_state() {
    for way in [Way::Traps, Way::Refuses] {
        let backend = Backend::new([]);
        let good = StatefulPlugin {
            dedups: true,
            holds: Some(|id| id != 500),
            ..StatefulPlugin::holding(1)
        };
        let bad = StatefulPlugin {
            number: 2,
            snapshot: way,
            ..good.clone()
        };
        let spec = good.stage("a");
        let pipeline = pipeline(vec![spec.clone()], &backend).await;
        offer(&pipeline, spans([1, 2])).await.unwrap();
        swap(&pipeline, swapped(&spec, &bad.generation())).await;
        // The bad one lets go of 1 and 2, then takes 3 and 999.
        offer(&pipeline, spans([999])).await.unwrap();
        offer(&pipeline, spans([3])).await.unwrap();
        tokio::time::sleep(Duration::from_millis(10)).await;
        assert_eq!(backend.taken(), [1, 2], "{way:?}");
        let carried = swap(&pipeline, swapped(&spec, &spec.generation)).await;
        assert_eq!(carried, StateTransfer::Earlier, "{way:?}");
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(
            good.diary.saw(1).last(),
            Some(&vec![999, 3]),
            "{way:?}: offered"
        );
        // Its state has 1 and 2 as held, and as seen.
        offer(&pipeline, spans([1, 999])).await.unwrap();
        let stage = pipeline.ledger().books().stages[0].clone();
        assert_eq!(stage.generation(1).unwrap().faults, 0, "{way:?}");
        assert_eq!(dropped(&pipeline, 0)["duplicate"], 2, "{way:?}");
        drain(pipeline).await;
        assert_eq!(backend.taken(), [1, 2, 3, 999], "{way:?}");
    }
}

/// If the generation before traps on the state that the one after it leaves, it still gets its own
/// state, on another instance.
#[tokio::test(start_paused = true)]
async fn a_rollback_survives_a_poisonous_state() {
    let backend = Backend::new([]);
    let wary = StatefulPlugin {
        dedups: true,
        restore: Way::TrapsOnOthers,
        ..StatefulPlugin::default()
    };
    let bad = StatefulPlugin {
        number: 2,
        restore: Way::Works,
        ..wary.clone()
    };
    let spec = wary.stage("a");
    let pipeline = pipeline(vec![spec.clone()], &backend).await;
    offer(&pipeline, spans([1])).await.unwrap();
    swap(&pipeline, swapped(&spec, &bad.generation())).await;
    let carried = swap(&pipeline, swapped(&spec, &spec.generation)).await;
    assert_eq!(carried, StateTransfer::Earlier);
    offer(&pipeline, spans([1, 2])).await.unwrap();
    let stage = pipeline.ledger().books().stages[0].clone();
    assert_eq!(dropped(&pipeline, 0)["duplicate"], 1);
    assert_eq!((stage.bypassed, stage.faults), (0, [1, 0, 0, 0]));
    drain(pipeline).await;
    assert_eq!(backend.taken(), [1, 2]);
}

/// After probation there is no retained state to fall back on.
#[tokio::test(start_paused = true)]
async fn nothing_is_retained_after_probation() {
    let backend = Backend::new([]);
    let first = StatefulPlugin::default();
    let second = StatefulPlugin {
        number: 2,
        snapshot: Way::Refuses,
        ..first.clone()
    };
    let spec = first.stage("a");
    let pipeline = pipeline(vec![spec.clone()], &backend).await;
    offer(&pipeline, spans([1])).await.unwrap();
    let mut next = swapped(&spec, &second.generation());
    swap(&pipeline, next.clone()).await;
    next.on_probation = false;
    assert!(
        pipeline
            .change(vec![next])
            .await
            .unwrap()
            .carried
            .is_empty()
    );
    assert_eq!(swap(&pipeline, spec).await, StateTransfer::NoState);
    drain(pipeline).await;
}

/// If one stage of three is swapped, the others keep their instances and their state.
#[tokio::test(start_paused = true)]
async fn the_neighbours_are_not_touched() {
    let backend = Backend::new([]);
    let plugins = [1, 2, 3].map(|_| StatefulPlugin {
        dedups: true,
        ..StatefulPlugin::default()
    });
    let specs = ["a", "b", "c"];
    let mut specs: Vec<_> = plugins
        .iter()
        .zip(specs)
        .map(|(plugin, name)| plugin.stage(name))
        .collect();
    let pipeline = pipeline(specs.clone(), &backend).await;
    offer(&pipeline, spans([1])).await.unwrap();
    let next = StatefulPlugin {
        number: 2,
        ..plugins[1].clone()
    };
    specs[1] = swapped(&specs[1], &next.generation());
    let changed = pipeline.change(specs).await.unwrap();
    assert_eq!(changed.carried.keys().collect::<Vec<_>>(), ["b"]);
    offer(&pipeline, spans([2])).await.unwrap();
    let calm = [
        (1, Event::Made),
        (1, Event::Saw(vec![1])),
        (1, Event::Saw(vec![2])),
    ];
    for neighbour in [0, 2] {
        assert_eq!(plugins[neighbour].diary.read(), calm);
    }
    assert_eq!(plugins[1].diary.saw(2), [[2]]);
    drain(pipeline).await;
}

/// Drops are counted by the names of their reasons, in whatever order a generation has them, and
/// each generation has its own figures.
#[tokio::test(start_paused = true)]
async fn figures_by_generation_and_reasons_by_name() {
    let names = |names: &[&str]| names.iter().map(ToString::to_string).collect();
    let backend = Backend::new([]);
    let first = StatefulPlugin {
        drops: |id| (id < 10).then_some(u8::from(id < 5)),
        reasons: names(&["noise", "health"]),
        ..StatefulPlugin::default()
    };
    let second = StatefulPlugin {
        number: 2,
        reasons: names(&["health", "rest"]),
        ..first.clone()
    };
    let spec = first.stage("a");
    let pipeline = pipeline(vec![spec.clone()], &backend).await;
    offer(&pipeline, spans(0..20)).await.unwrap();
    swap(&pipeline, swapped(&spec, &second.generation())).await;
    offer(&pipeline, spans(4..13)).await.unwrap();
    let drops = dropped(&pipeline, 0);
    assert_eq!((drops["noise"], drops["health"], drops["rest"]), (5, 10, 1));
    let books = pipeline.ledger().books();
    let figures = |number| {
        let figures = books.stages[0].generation(number).unwrap();
        (
            figures.input,
            figures.output,
            figures.dropped,
            figures.calls,
        )
    };
    assert_eq!(figures(1), (20, 10, 10, 1));
    assert_eq!(figures(2), (9, 3, 6, 1));
    drain(pipeline).await;
}

/// A change that names the running generation leaves its instance in place.
#[tokio::test(start_paused = true)]
async fn a_swap_to_the_same_generation_changes_nothing() {
    let backend = Backend::new([]);
    let plugin = StatefulPlugin::holding(1);
    let spec = plugin.stage("a");
    let pipeline = pipeline(vec![spec.clone()], &backend).await;
    offer(&pipeline, spans([1])).await.unwrap();
    let changed = pipeline.change(vec![spec]).await.unwrap();
    assert!(changed.carried.is_empty());
    assert_eq!(plugin.diary.made(1), 1);
    drain(pipeline).await;
    assert_eq!(backend.taken(), [1]);
}

/// Items whose instances have already failed twice are let go when the last one traps in
/// `snapshot`: they go to the stage behind, and not to its successor, which gets the rest.
#[tokio::test(start_paused = true)]
async fn what_is_let_go_in_a_swap_goes_on_behind() {
    let backend = Backend::new([]);
    let first = StatefulPlugin {
        fails_on: |id| id == 13,
        snapshot: Way::Traps,
        ..StatefulPlugin::holding(1)
    };
    let second = StatefulPlugin {
        number: 2,
        ..first.clone()
    };
    let behind = StatefulPlugin::default();
    let (a, b) = (first.stage("a"), behind.stage("b"));
    let pipeline = pipeline(vec![a.clone(), b.clone()], &backend).await;
    offer(&pipeline, spans([1, 2])).await.unwrap();
    offer(&pipeline, spans([13])).await.unwrap();
    offer(&pipeline, spans([3])).await.unwrap();
    assert_eq!(pipeline.ledger().books().held(), 3);
    let next = swapped(&a, &second.generation());
    pipeline.change(vec![next, b]).await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(first.diary.saw(2), [[3]]);
    assert_eq!(behind.diary.saw(1), [vec![13], vec![1, 2]]);
    let stage = pipeline.ledger().books().stages[0].clone();
    assert_eq!((stage.held, stage.output, stage.bypassed), (1, 3, 3));
    drain(pipeline).await;
    assert_eq!(backend.taken(), [1, 2, 3, 13]);
}
