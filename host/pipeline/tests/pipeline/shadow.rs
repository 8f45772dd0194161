//! Tests of a candidate that sees a copy of the traffic.

use std::sync::Arc;
use std::time::Duration;

use spandrel_pipeline::pipeline::Pipeline;
use spandrel_pipeline::stage::{Comparison, Generation, Mode, Outcome, StageSpec};

use crate::edges::*;
use crate::stateful_plugin::{Diary, StatefulPlugin, Way, swapped, with_candidate};

/// Makes a pipeline with a shadow in its only stage.
async fn shadowed(
    backend: &Arc<Backend>,
    first: StatefulPlugin,
    second: StatefulPlugin,
) -> (Pipeline, StageSpec, Arc<dyn Generation>, Diary) {
    let diary = first.diary.clone();
    let second = StatefulPlugin {
        number: 2,
        diary: diary.clone(),
        ..second
    };
    let (spec, candidate) = (first.stage("a"), second.generation());
    let config = config(vec![spec.clone()], vec![exporter(backend, 1000)]);
    let pipeline = Pipeline::build(config).await.unwrap();
    let row = with_candidate(&spec, &candidate, Mode::Shadow);
    pipeline.change(vec![row]).await.unwrap();
    (pipeline, spec, candidate, diary)
}

async fn compared(pipeline: &Pipeline) -> Comparison {
    pipeline.comparison("a").await.unwrap()
}

fn dropping(drops: fn(u64) -> Option<u8>) -> StatefulPlugin {
    StatefulPlugin {
        drops,
        reasons: vec!["noise".to_owned()],
        ..StatefulPlugin::default()
    }
}

/// Differences are counted by service, span name and both decisions, with examples; the shadow's
/// answers affect neither the output nor the figures of the stage.
#[tokio::test(start_paused = true)]
async fn differences_are_counted_and_nothing_comes_out() {
    let backend = Backend::new([]);
    let first = dropping(|id| (id % 4 == 0).then_some(0));
    let second = dropping(|id| (id % 3 == 0).then_some(0));
    let (pipeline, _, _, diary) = shadowed(&backend, first, second).await;
    for batch in [0..30, 0..30, 30..60] {
        offer(&pipeline, spans(batch)).await.unwrap();
    }
    let seen = compared(&pipeline).await;
    assert_eq!((seen.compared, seen.unsettled), (90, 0));
    let kinds = |id: u64| match (id.is_multiple_of(4), id.is_multiple_of(3)) {
        (true, false) => Some((Outcome::Drop("noise".to_owned()), Outcome::Keep)),
        (false, true) => Some((Outcome::Keep, Outcome::Drop("noise".to_owned()))),
        _ => None,
    };
    let mut different = 0;
    for id in (0..30).chain(0..60) {
        let of_span = seen
            .differences
            .iter()
            .find(|(kind, _)| kind.span == format!("span {id}"));
        let said = of_span.map(|(kind, _)| (kind.running.clone(), kind.shadow.clone()));
        assert_eq!(said, kinds(id), "span {id}");
        different += u64::from(said.is_some());
    }
    assert_eq!(seen.different, different);
    let (kind, twice) = seen
        .differences
        .iter()
        .find(|(kind, _)| kind.span == "span 8")
        .unwrap();
    assert_eq!((kind.service.as_str(), twice.count), ("", 2));
    let ids = (9_u128.to_be_bytes().to_vec(), 9_u64.to_be_bytes().to_vec());
    assert_eq!(twice.examples, [ids.clone(), ids]);
    assert_eq!(diary.saw(2).len(), 3);
    let stage = pipeline.ledger().books().stages[0].clone();
    assert_eq!((stage.input, stage.output, stage.calls), (90, 67, 3));
    let figures = stage.generation(2).unwrap();
    assert_eq!(
        (figures.input, figures.output, figures.dropped),
        (90, 60, 30)
    );
    drain(pipeline).await;
    let mut taken = backend.taken();
    taken.dedup();
    assert_eq!(taken, (0..60).filter(|id| id % 4 != 0).collect::<Vec<_>>());
}

/// A held item is compared once both have settled it, whichever of the two holds it.
#[tokio::test(start_paused = true)]
async fn held_items_are_compared_when_settled() {
    let holds = |even: bool| StatefulPlugin {
        holds: Some(if even {
            |id| id % 2 == 0
        } else {
            |id| id % 3 == 0
        }),
        tick: Some(Duration::from_secs(if even { 1 } else { 3 })),
        ..dropping(|_| None)
    };
    let dropped_later = StatefulPlugin {
        drops_held: true,
        ..holds(false)
    };
    let backend = Backend::new([]);
    let (pipeline, _, _, _) = shadowed(&backend, holds(true), dropped_later).await;
    offer(&pipeline, spans(0..12)).await.unwrap();
    let seen = compared(&pipeline).await;
    // Neither holds 1, 5, 7 and 11.
    assert_eq!((seen.compared, seen.unsettled, seen.different), (4, 8, 0));
    tokio::time::sleep(Duration::from_millis(1500)).await;
    let seen = compared(&pipeline).await;
    // The running one let go of 0, 2, 4, and so on: both have decided about 2, 4, 8 and 10.
    assert_eq!((seen.compared, seen.unsettled, seen.different), (8, 4, 0));
    tokio::time::sleep(Duration::from_secs(2)).await;
    let seen = compared(&pipeline).await;
    assert_eq!((seen.compared, seen.unsettled, seen.different), (12, 0, 4));
    assert!(
        seen.differences
            .keys()
            .all(|kind| kind.shadow == Outcome::Drop("noise".to_owned()))
    );
    drain(pipeline).await;
    assert_eq!(backend.taken(), (0..12).collect::<Vec<_>>());
}

/// A shadow that traps, refuses the state or answers badly is counted as such, is instantiated
/// again from time to time, and harms nobody.
#[tokio::test(start_paused = true)]
async fn a_bad_shadow_harms_nobody() {
    let stateless = |restore| StatefulPlugin {
        restore,
        ..StatefulPlugin::default()
    };
    let trapping = StatefulPlugin {
        fails_on: |_| true,
        ..StatefulPlugin::default()
    };
    // This names a reason that it does not have.
    let lying = StatefulPlugin {
        drops: |_| Some(5),
        ..StatefulPlugin::default()
    };
    let stuttering = StatefulPlugin {
        stutters: true,
        ..StatefulPlugin::holding(2)
    };
    let cases = [
        (stateless(Way::Refuses), 0..=0),
        (stateless(Way::Traps), 1..=1),
        (trapping, 5..=6),
        (lying, 5..=6),
        (stuttering, 1..=6),
    ];
    for (case, (shadow, faults)) in cases.into_iter().enumerate() {
        let backend = Backend::new([]);
        let (pipeline, spec, _, diary) =
            shadowed(&backend, StatefulPlugin::default(), shadow).await;
        for id in 0..50 {
            offer(&pipeline, spans([if id % 10 == 9 { 999 } else { id }]))
                .await
                .unwrap();
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        let seen = compared(&pipeline).await;
        assert!(faults.contains(&seen.faults), "case {case}: {seen:?}");
        assert_eq!(seen.last_fault.is_some(), seen.faults > 0);
        let stage = pipeline.ledger().books().stages[0].clone();
        assert_eq!(
            (stage.faults, stage.restarts, stage.output),
            ([0; 4], 0, 50),
            "case {case}"
        );
        assert_eq!(stage.generation(2).unwrap().faults, seen.faults);
        assert_eq!(diary.made(1), 1);
        pipeline.change(vec![spec]).await.unwrap();
        assert_eq!(
            compared(&pipeline).await.faults,
            seen.faults,
            "the last one's stays"
        );
        drain(pipeline).await;
        assert_eq!(backend.taken().len(), 50);
    }
}

/// If a shadow never settles its items, the number of remembered items is bounded.
#[tokio::test(start_paused = true)]
async fn a_shadow_remembers_so_much() {
    let backend = Backend::new([]);
    let (pipeline, spec, candidate, _) = shadowed(
        &backend,
        StatefulPlugin::default(),
        StatefulPlugin::holding(2),
    )
    .await;
    for batch in 0..130 {
        offer(&pipeline, spans(batch * 1000 + 1000..batch * 1000 + 2000))
            .await
            .unwrap();
    }
    let seen = compared(&pipeline).await;
    assert_eq!(
        (seen.unsettled, seen.forgotten, seen.compared),
        (100_000, 30_000, 0)
    );
    let promoted = swapped(&spec, &candidate);
    pipeline.change(vec![promoted]).await.unwrap();
    assert_eq!(compared(&pipeline).await.unsettled, 0);
    offer(&pipeline, spans([1])).await.unwrap();
    assert_eq!(pipeline.ledger().books().held(), 1, "published, it judges");
    drain(pipeline).await;
    assert_eq!(backend.taken().len(), 130_001);
}

/// Kinds of differences are bounded, too: after a thousand they are counted without names.
#[tokio::test(start_paused = true)]
async fn a_comparison_is_bounded() {
    let backend = Backend::new([]);
    let (pipeline, _, _, _) =
        shadowed(&backend, StatefulPlugin::default(), dropping(|_| Some(0))).await;
    offer(&pipeline, spans(0..5000)).await.unwrap();
    let seen = compared(&pipeline).await;
    assert_eq!((seen.different, seen.differences.len()), (5000, 1001));
    let nameless = seen
        .differences
        .iter()
        .find(|(kind, _)| kind.span.is_empty());
    assert_eq!(nameless.unwrap().1.count, 4000);
    drain(pipeline).await;
}

/// If the running generation fails on a batch while its held items are offered again, that batch is
/// not compared with the decisions about another.
#[tokio::test(start_paused = true)]
async fn only_what_was_judged_is_compared() {
    let failing = StatefulPlugin {
        fails_on: |id| id == 13,
        holds: Some(|id| id < 10),
        ..dropping(|_| None)
    };
    let shadow = StatefulPlugin {
        fails_on: |_| false,
        ..failing.clone()
    };
    let backend = Backend::new([]);
    let (pipeline, _, _, diary) = shadowed(&backend, failing, shadow).await;
    offer(&pipeline, spans([1, 2])).await.unwrap();
    offer(&pipeline, spans([13])).await.unwrap();
    offer(&pipeline, spans([13, 14])).await.unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    offer(&pipeline, spans([15])).await.unwrap();
    assert_eq!(diary.saw(2), [vec![1, 2], vec![15]]);
    let seen = compared(&pipeline).await;
    assert_eq!((seen.compared, seen.different), (1, 0));
    drain(pipeline).await;
    assert_eq!(backend.taken(), [1, 2, 13, 13, 14, 15]);
}

/// A candidate whose second instance cannot be made ends neither the running shadow nor its
/// comparison.
#[tokio::test(start_paused = true)]
async fn a_failed_change_leaves_the_shadow() {
    let backend = Backend::new([]);
    let (pipeline, spec, _, diary) =
        shadowed(&backend, StatefulPlugin::default(), dropping(|_| Some(0))).await;
    offer(&pipeline, spans([1])).await.unwrap();
    let none = StatefulPlugin {
        number: 3,
        instances: 0,
        ..StatefulPlugin::default()
    };
    let row = with_candidate(&spec, &none.generation(), Mode::Shadow);
    pipeline.change(vec![row]).await.unwrap_err();
    offer(&pipeline, spans([2])).await.unwrap();
    assert_eq!(compared(&pipeline).await.different, 2);
    assert_eq!(diary.saw(2), [[1], [2]]);
    drain(pipeline).await;
}

/// Items that the running generation releases in the same call that held them, because of its hold
/// limit, are compared like all others.
#[tokio::test(start_paused = true)]
async fn what_goes_at_once_is_settled() {
    let backend = Backend::new([]);
    let mut spec = StatefulPlugin::holding(1).stage("a");
    spec.hold.items = 5;
    let config = config(vec![spec.clone()], vec![exporter(&backend, 1000)]);
    let pipeline = Pipeline::build(config).await.unwrap();
    let candidate = StatefulPlugin::default().generation();
    let row = with_candidate(&spec, &candidate, Mode::Shadow);
    pipeline.change(vec![row]).await.unwrap();
    offer(&pipeline, spans(0..10)).await.unwrap();
    let seen = compared(&pipeline).await;
    assert_eq!((seen.compared, seen.unsettled, seen.different), (10, 0, 0));
    drain(pipeline).await;
}

/// If the running generation is swapped while the shadow stays, the shadow is compared with the new
/// one.
#[tokio::test(start_paused = true)]
async fn a_shadow_outlives_a_swap() {
    let backend = Backend::new([]);
    let (pipeline, spec, candidate, diary) =
        shadowed(&backend, StatefulPlugin::default(), dropping(|_| Some(0))).await;
    offer(&pipeline, spans([1])).await.unwrap();
    let third = StatefulPlugin {
        number: 3,
        diary: diary.clone(),
        ..StatefulPlugin::default()
    };
    let next = swapped(&spec, &third.generation());
    let row = with_candidate(&next, &candidate, Mode::Shadow);
    pipeline.change(vec![row]).await.unwrap();
    offer(&pipeline, spans([2, 3])).await.unwrap();
    assert_eq!((diary.saw(3), diary.made(2)), (vec![vec![2, 3]], 1));
    let seen = compared(&pipeline).await;
    assert_eq!((seen.compared, seen.different), (3, 3));
    drain(pipeline).await;
}
