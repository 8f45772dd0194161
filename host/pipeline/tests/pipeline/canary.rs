//! Tests of a candidate that judges a share of the traces.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use spandrel_pipeline::pipeline::Pipeline;
use spandrel_pipeline::refused::Refused;
use spandrel_pipeline::stage::{FaultPolicy, Generation, Mode, Share, StageSpec, StateTransfer};

use crate::edges::*;
use crate::stateful_plugin::{Diary, StatefulPlugin, Way, swapped, with_candidate};

async fn pipeline(spec: &StageSpec, backend: &Arc<Backend>, shards: usize) -> Pipeline {
    let mut config = config(vec![spec.clone()], vec![exporter(backend, 1000)]);
    config.shards = shards;
    Pipeline::build(config).await.unwrap()
}

fn percent(percent: f64) -> Mode {
    Mode::Canary(Share::from_percent(percent).unwrap())
}

/// Makes a stage, a candidate for it, and the diary of both.
fn pair(first: &StatefulPlugin, second: StatefulPlugin) -> (StageSpec, Arc<dyn Generation>, Diary) {
    let diary = first.diary.clone();
    let second = StatefulPlugin {
        number: 2,
        diary: diary.clone(),
        ..second
    };
    (first.stage("a"), second.generation(), diary)
}

/// Begins a canary with this share.
async fn begin(pipeline: &Pipeline, spec: &StageSpec, candidate: &Arc<dyn Generation>, share: f64) {
    let row = with_candidate(spec, candidate, percent(share));
    let changed = pipeline.change(vec![row]).await.unwrap();
    assert!(changed.carried.is_empty());
}

/// Sends batches of five traces each, three spans a trace over three batches.
async fn send(pipeline: &Pipeline, from: u64, traces: u64) {
    for part in 0..3 {
        for batch in (from..from + traces).step_by(5) {
            let spans = (batch..batch + 5).map(|trace| (trace, trace * 10 + part));
            offer(pipeline, traced(spans)).await.unwrap();
        }
    }
}

/// The canary judges about its share of the traces, one of the two judges each whole trace, and
/// both parts of a batch come out.
#[tokio::test(start_paused = true)]
async fn a_trace_is_judged_by_one() {
    for shards in [1, 3] {
        let backend = Backend::new([]);
        let (spec, candidate, diary) = pair(&StatefulPlugin::default(), StatefulPlugin::default());
        let pipeline = pipeline(&spec, &backend, shards).await;
        begin(&pipeline, &spec, &candidate, 20.0).await;
        send(&pipeline, 0, 1000).await;
        let mut judges = HashMap::<u64, Vec<u64>>::new();
        for number in [1, 2] {
            for span in diary.saw(number).concat() {
                judges.entry(span / 10).or_default().push(number);
            }
        }
        assert!(
            judges
                .values()
                .all(|judges| judges.windows(2).all(|pair| pair[0] == pair[1]))
        );
        let share = judges.values().filter(|judges| judges[0] == 2).count();
        assert!((150..250).contains(&share), "{share} of 1000");
        let books = pipeline.ledger().books();
        let figures = |number| books.stages[0].generation(number).unwrap().clone();
        assert_eq!(figures(2).input, share as u64 * 3);
        assert_eq!(figures(1).input + figures(2).input, 3000);
        assert_eq!(
            (books.stages[0].input, books.stages[0].output),
            (3000, 3000)
        );
        drain(pipeline).await;
        assert_eq!(backend.taken().len(), 3000);
    }
}

/// A trace with held spans stays with the generation that holds them while the share changes.
#[tokio::test(start_paused = true)]
async fn held_traces_stay_where_they_are() {
    let backend = Backend::new([]);
    let (spec, candidate, diary) = pair(&StatefulPlugin::holding(1), StatefulPlugin::holding(2));
    let pipeline = pipeline(&spec, &backend, 1).await;
    let held =
        |traces: std::ops::Range<u64>, part| traced(traces.map(|trace| (trace, trace * 10 + part)));
    offer(&pipeline, held(0..100, 0)).await.unwrap();
    begin(&pipeline, &spec, &candidate, 50.0).await;
    offer(&pipeline, held(0..100, 1)).await.unwrap();
    assert_eq!(
        diary.saw(2),
        [[0; 0]; 0],
        "the running one holds parts of all of them"
    );
    offer(&pipeline, held(100..200, 0)).await.unwrap();
    let of_canary = diary.saw(2).concat();
    assert!((30..70).contains(&of_canary.len()));
    for share in [0.01, 100.0] {
        begin(&pipeline, &spec, &candidate, share).await;
        offer(&pipeline, held(100..200, 1)).await.unwrap();
    }
    let expected: Vec<_> = of_canary.iter().map(|id| id + 1).collect();
    assert_eq!(diary.saw(2)[1..], [expected.clone(), expected]);
    offer(&pipeline, held(200..300, 0)).await.unwrap();
    assert_eq!(
        diary.saw(2).last().unwrap().len(),
        100,
        "new ones go by the new share"
    );
    assert_eq!(diary.made(2), 1);
    drain(pipeline).await;
}

/// If one of the two refuses its part, the sender is told. The part that the other one judged
/// before goes on: that plugin remembers it, and would drop it when the sender retries.
#[tokio::test(start_paused = true)]
async fn a_refusal_of_one_part() {
    for failing in [1, 2] {
        let fails = |number| StatefulPlugin {
            fails_on: if number == failing {
                |id| id == 7
            } else {
                |_| false
            },
            ..StatefulPlugin::default()
        };
        let backend = Backend::new([]);
        let (mut spec, candidate, diary) = pair(&fails(1), fails(2));
        spec.on_fault = FaultPolicy::Refuse;
        let pipeline = pipeline(&spec, &backend, 1).await;
        begin(&pipeline, &spec, &candidate, 50.0).await;
        let mut refusals = 0;
        // Each batch has a part for both; in some, the failing one gets the bad span.
        for trace in 0..20 {
            let batch = traced((0..10).map(|span| (trace + span, span)));
            let before = pipeline.ledger().books();
            let refused = offer(&pipeline, batch).await;
            let books = pipeline.ledger().books();
            assert!(books.is_balanced());
            match refused {
                Ok(()) => assert_eq!(books.refused, before.refused),
                Err(Refused::Fault { .. }) => {
                    let refused = books.refused - before.refused;
                    assert_eq!(books.forwarded - before.forwarded, 10 - refused);
                    // The canary comes first.
                    assert!(if failing == 2 {
                        refused == 10
                    } else {
                        refused < 10
                    });
                    refusals += 1;
                }
                Err(other) => panic!("{other}"),
            }
            tokio::time::sleep(Duration::from_secs(20)).await;
        }
        let books = pipeline.ledger().books();
        let faults = books.stages[0].generation(failing).unwrap().faults;
        assert_eq!(faults, refusals);
        assert!((1..19).contains(&refusals), "{refusals}");
        assert!(diary.saw(3 - failing).len() > 1);
        drain(pipeline).await;
    }
}

/// After promotion the canary has the state of both and goes on with the items that either holds;
/// the generation that it replaces can be called back.
#[tokio::test(start_paused = true)]
async fn a_promoted_canary_has_both() {
    let plugin = || StatefulPlugin {
        dedups: true,
        ..StatefulPlugin::holding(1)
    };
    let backend = Backend::new([]);
    let (spec, candidate, diary) = pair(&plugin(), plugin());
    let pipeline = pipeline(&spec, &backend, 1).await;
    offer(&pipeline, spans(0..50)).await.unwrap();
    begin(&pipeline, &spec, &candidate, 50.0).await;
    offer(&pipeline, spans(50..100)).await.unwrap();
    let promoted = swapped(&spec, &candidate);
    let changed = pipeline.change(vec![promoted]).await.unwrap();
    assert_eq!(changed.carried["a"], StateTransfer::Done);
    assert_eq!((diary.made(2), pipeline.ledger().books().held()), (1, 100));
    offer(&pipeline, spans(0..100)).await.unwrap();
    assert_eq!(dropped(&pipeline, 0)["duplicate"], 100);
    offer(&pipeline, spans([999])).await.unwrap();
    tokio::time::sleep(Duration::from_millis(10)).await;
    assert_eq!(backend.taken(), (0..100).collect::<Vec<_>>());
    let changed = pipeline.change(vec![spec]).await.unwrap();
    assert_eq!(changed.carried["a"], StateTransfer::Done);
    offer(&pipeline, spans(0..100)).await.unwrap();
    assert_eq!(dropped(&pipeline, 0)["duplicate"], 200);
    assert_eq!(pipeline.ledger().books().stages[0].faults, [0; 4]);
    drain(pipeline).await;
}

/// After a cancellation the canary's state and held items go back; if its state is not accepted,
/// its held items are offered to the running generation.
#[tokio::test(start_paused = true)]
async fn a_cancelled_canary_gives_back() {
    for snapshot in [Way::Works, Way::Refuses, Way::Traps] {
        let plugin = |snapshot| StatefulPlugin {
            dedups: true,
            snapshot,
            ..StatefulPlugin::holding(1)
        };
        let backend = Backend::new([]);
        let (spec, candidate, diary) = pair(&plugin(Way::Works), plugin(snapshot));
        let pipeline = pipeline(&spec, &backend, 1).await;
        begin(&pipeline, &spec, &candidate, 50.0).await;
        offer(&pipeline, spans(0..100)).await.unwrap();
        let of_canary = diary.saw(2).concat();
        let changed = pipeline.change(vec![spec]).await.unwrap();
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(pipeline.ledger().books().held(), 100, "{snapshot:?}");
        let again = diary.saw(1)[1..].concat();
        if snapshot == Way::Works {
            assert_eq!(
                (&changed.carried["a"], again.len()),
                (&StateTransfer::Done, 0)
            );
        } else {
            assert_eq!(again, of_canary, "{snapshot:?}");
        }
        offer(&pipeline, spans(0..100)).await.unwrap();
        assert_eq!(dropped(&pipeline, 0)["duplicate"], 100, "{snapshot:?}");
        let faults = pipeline.ledger().books().stages[0].faults;
        assert_eq!(faults[0], u64::from(snapshot == Way::Traps));
        drain(pipeline).await;
        assert_eq!(
            backend.taken(),
            (0..100).collect::<Vec<_>>(),
            "{snapshot:?}"
        );
    }
}

/// Publishing another generation while a canary runs ends the canary, and no item that either of
/// the two held is lost.
#[tokio::test(start_paused = true)]
async fn a_swap_ends_a_canary() {
    let backend = Backend::new([]);
    let (spec, candidate, diary) = pair(&StatefulPlugin::holding(1), StatefulPlugin::holding(2));
    let third = StatefulPlugin {
        diary: diary.clone(),
        ..StatefulPlugin::holding(3)
    };
    let pipeline = pipeline(&spec, &backend, 2).await;
    begin(&pipeline, &spec, &candidate, 50.0).await;
    for id in 0..20 {
        offer(&pipeline, spans([id, id + 100])).await.unwrap();
    }
    let changed = pipeline
        .change(vec![swapped(&spec, &third.generation())])
        .await
        .unwrap();
    assert_eq!(changed.carried["a"], StateTransfer::Done);
    let before = diary.saw(2).len();
    for id in 200..220 {
        offer(&pipeline, spans([id])).await.unwrap();
    }
    assert_eq!((diary.saw(2).len(), diary.saw(3).len()), (before, 20));
    drain(pipeline).await;
    assert_eq!(backend.taken().len(), 60);
}

/// If a canary always fails, the fault policy applies to its share, its breaker opens and is gone
/// with the canary, and the rest is judged as before. A drain in the middle of it loses nothing.
#[tokio::test(start_paused = true)]
async fn a_bad_canary_harms_its_share_only() {
    let backend = Backend::new([]);
    let bad = StatefulPlugin {
        fails_on: |_| true,
        ..StatefulPlugin::holding(2)
    };
    let (spec, candidate, diary) = pair(&StatefulPlugin::holding(1), bad);
    let pipeline = pipeline(&spec, &backend, 1).await;
    begin(&pipeline, &spec, &candidate, 30.0).await;
    for id in 0..200 {
        offer(&pipeline, spans([id])).await.unwrap();
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let stage = pipeline.ledger().books().stages[0].clone();
    let judged = diary.saw(1).len() as u64;
    assert!((110..170).contains(&judged), "{judged}");
    assert_eq!((stage.held, stage.bypassed), (judged, 200 - judged));
    assert_eq!(stage.breakers_open, 1);
    assert_eq!(stage.generation(1).unwrap().faults, 0);
    pipeline.change(vec![spec.clone()]).await.unwrap();
    assert_eq!(pipeline.ledger().books().stages[0].breakers_open, 0);
    begin(&pipeline, &spec, &candidate, 30.0).await;
    offer(&pipeline, spans(200..300)).await.unwrap();
    drain(pipeline).await;
    assert_eq!(backend.taken(), (0..300).collect::<Vec<_>>());
}

/// Items that a canary lets go of at its tick are read with its own manifest, which may have more
/// reasons than the running generation's.
#[tokio::test(start_paused = true)]
async fn a_canary_is_read_by_its_own_manifest() {
    let backend = Backend::new([]);
    let dropping = StatefulPlugin {
        reasons: vec!["late".to_owned()],
        tick: Some(Duration::from_secs(1)),
        drops_held: true,
        ..StatefulPlugin::holding(2)
    };
    let (spec, candidate, _) = pair(&StatefulPlugin::default(), dropping);
    let pipeline = pipeline(&spec, &backend, 1).await;
    begin(&pipeline, &spec, &candidate, 100.0).await;
    offer(&pipeline, spans(0..10)).await.unwrap();
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(dropped(&pipeline, 0)["late"], 10);
    assert_eq!(pipeline.ledger().books().stages[0].faults, [0; 4]);
    drain(pipeline).await;
}
