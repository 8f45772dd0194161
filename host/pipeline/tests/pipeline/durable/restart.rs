//! Tests of a clean stop and the start after it: the plugins' state and held items go on, and no
//! problem with them on the way can cost a span.

mod chaos;
mod let_go;
mod sampler;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use spandrel_pipeline::pipeline::Pipeline;
use spandrel_pipeline::stage::{FaultPolicy, Mode, Share, StageSpec};
use tokio::time::sleep;

use super::{kill, on, retire};
use crate::disk::Disk;
use crate::edges::*;
use crate::stateful_plugin::{Diary, Event, StatefulPlugin, Way, with_candidate};

/// Drops spans that it has seen before.
fn dedup(diary: &Diary) -> StatefulPlugin {
    StatefulPlugin {
        dedups: true,
        diary: diary.clone(),
        ..StatefulPlugin::default()
    }
}

/// Holds everything until it sees span 999.
fn sampler(diary: &Diary) -> StatefulPlugin {
    StatefulPlugin {
        diary: diary.clone(),
        ..StatefulPlugin::holding(1)
    }
}

fn row(first: &StatefulPlugin, second: &StatefulPlugin) -> Vec<StageSpec> {
    vec![first.stage("dedup"), second.stage("sampler")]
}

/// A change to the handover that the last process left.
type Change = fn(&mut Option<Bytes>);

/// Starts a pipeline whose stages keep their names.
async fn start(disk: &Disk, stages: Vec<StageSpec>, backend: &Arc<Backend>) -> Pipeline {
    let mut config = on(disk, vec![], backend, 1000);
    config.stages = stages;
    Pipeline::build(config).await.unwrap()
}

/// Runs a process that gets these spans in one batch, holds some of them, and stops.
async fn a_life(disk: &Disk, stages: Vec<StageSpec>, backend: &Arc<Backend>) {
    let pipeline = start(disk, stages, backend).await;
    offer(&pipeline, spans([1, 2])).await.unwrap();
    sleep(Duration::from_millis(10)).await;
    let ledger = Arc::clone(pipeline.ledger());
    assert_eq!(drain(pipeline).await.kept, 2);
    let books = ledger.books();
    assert_eq!((books.journaled, books.abandoned()), (2, 0), "{books}");
    assert_eq!((backend.taken(), disk.ingress()), (vec![], vec![1, 2]));
}

/// Held items are held again, under the names that the plugin knows. They are not offered to the
/// stage in front, which would take them for duplicates. A span that came before the stop is a
/// duplicate after it.
#[tokio::test(start_paused = true)]
async fn stages_go_on_after_a_stop() {
    let (disk, backend, diary) = (Disk::default(), Backend::new([]), Diary::default());
    let stages = || row(&dedup(&diary), &sampler(&diary));
    a_life(&disk, stages(), &backend).await;
    for _ in 0..2 {
        // Stops and starts once more, with nothing in between.
        let pipeline = start(&disk, stages(), &backend).await;
        let books = pipeline.ledger().books();
        assert_eq!((books.replayed, books.held()), (2, 2), "{books}");
        assert!(books.is_balanced(), "{books}");
        drain(pipeline).await;
    }
    let pipeline = start(&disk, stages(), &backend).await;
    offer(&pipeline, spans([1, 2, 3])).await.unwrap();
    sleep(Duration::from_millis(10)).await;
    assert_eq!(dropped(&pipeline, 0)["duplicate"], 2);
    offer(&pipeline, spans([999])).await.unwrap();
    sleep(Duration::from_millis(10)).await;
    assert_eq!(backend.taken(), [1, 2, 3]);
    assert_eq!(
        disk.ingress(),
        [999],
        "held by the one that let go of the others"
    );
    drain(pipeline).await;
    let said = diary.read();
    let saw = said
        .iter()
        .filter(|(_, event)| matches!(event, Event::Saw(ids) if ids.contains(&1)));
    assert_eq!(saw.count(), 3, "each stage once, and the duplicate");
    assert!(
        !said
            .iter()
            .any(|(_, event)| matches!(event, Event::Drained(_)))
    );
}

/// If a process is killed after it took up the handover, the next one starts without state, and no
/// span is a duplicate of itself.
#[tokio::test(start_paused = true)]
async fn a_kill_after_a_start_loses_what_is_known_and_no_span() {
    let (disk, backend, diary) = (Disk::default(), Backend::new([]), Diary::default());
    let stages = || row(&dedup(&diary), &sampler(&diary));
    a_life(&disk, stages(), &backend).await;
    let pipeline = start(&disk, stages(), &backend).await;
    sleep(Duration::from_millis(10)).await;
    kill(&disk, pipeline).await;
    let pipeline = start(&disk, stages(), &backend).await;
    sleep(Duration::from_millis(10)).await;
    offer(&pipeline, spans([999])).await.unwrap();
    sleep(Duration::from_millis(10)).await;
    assert_eq!(backend.taken(), [1, 2]);
    assert!(dropped(&pipeline, 0).is_empty());
    drain(pipeline).await;
}

/// Parts of one record that are held separately finish it together.
#[tokio::test(start_paused = true)]
async fn a_record_ends_with_the_last_of_its_parts() {
    let (disk, backend) = (Disk::default(), Backend::new([]));
    let holding = |releases_on, holds: fn(u64) -> bool| StatefulPlugin {
        releases_on,
        holds: Some(holds),
        ..StatefulPlugin::default()
    };
    let odd = holding(1001, |id| id % 2 == 1 && id < 1000);
    let even = holding(1000, |id| id % 2 == 0 && id < 1000);
    let stages = || row(&odd, &even);
    a_life(&disk, stages(), &backend).await;
    let pipeline = start(&disk, stages(), &backend).await;
    offer(&pipeline, spans([1000])).await.unwrap();
    sleep(Duration::from_millis(10)).await;
    assert_eq!(
        (backend.taken(), disk.ingress()),
        (vec![2, 1000], vec![1, 2])
    );
    offer(&pipeline, spans([1001])).await.unwrap();
    sleep(Duration::from_millis(10)).await;
    assert_eq!(
        (backend.taken(), disk.ingress()),
        (vec![1, 2, 1000, 1001], vec![])
    );
    assert_eq!(drain(pipeline).await.kept, 0);
}

/// A plugin that refuses the state, or fails on it, is offered the items that it held; the stage in
/// front goes on with its state.
#[tokio::test(start_paused = true)]
async fn a_refused_state_is_offered_as_a_batch() {
    for restore in [Way::Refuses, Way::Traps] {
        let (disk, backend, diary) = (Disk::default(), Backend::new([]), Diary::default());
        a_life(&disk, row(&dedup(&diary), &sampler(&diary)), &backend).await;
        let diary = Diary::default();
        let changed = StatefulPlugin {
            restore,
            number: 2,
            ..sampler(&diary)
        };
        let pipeline = start(&disk, row(&dedup(&Diary::default()), &changed), &backend).await;
        sleep(Duration::from_secs(2)).await;
        assert_eq!(diary.saw(2), [[1, 2]]);
        offer(&pipeline, spans([1, 999])).await.unwrap();
        sleep(Duration::from_millis(10)).await;
        assert_eq!(
            (backend.taken(), disk.ingress()),
            (vec![1, 2], vec![1, 999])
        );
        assert_eq!(dropped(&pipeline, 0)["duplicate"], 1);
        drain(pipeline).await;
    }
}

/// If the handover does not fit, or is not the one that was written, it is not used at all: every
/// item is in a record, and comes to stages without state. This is counted.
#[tokio::test(start_paused = true)]
async fn what_does_not_fit_is_not_used() {
    let diary = Diary::default();
    let usual = || row(&dedup(&diary), &sampler(&diary));
    let turned = || usual().into_iter().rev().collect::<Vec<_>>();
    let cut = |left: &mut Option<Bytes>| drop(left.as_mut().map(|left| left.split_off(40)));
    let bad = |left: &mut Option<Bytes>| {
        let mut bytes = left.take().unwrap().to_vec();
        bytes[0] ^= 1;
        *left = Some(Bytes::from(bytes));
    };
    let same = |_: &mut Option<Bytes>| {};
    let cases: [(&str, Vec<StageSpec>, usize, Change); 5] = [
        ("taken out", vec![dedup(&diary).stage("dedup")], 1, same),
        ("another order", turned(), 1, same),
        ("another number of shards", usual(), 2, same),
        ("cut off", usual(), 1, cut),
        ("another layout", usual(), 1, bad),
    ];
    for (what, stages, shards, change) in cases {
        let (disk, backend) = (Disk::default(), Backend::new([]));
        a_life(&disk, usual(), &backend).await;
        disk.handover(change);
        let mut config = on(&disk, vec![], &backend, 1000);
        (config.stages, config.shards) = (stages, shards);
        let pipeline = Pipeline::build(config).await.unwrap();
        sleep(Duration::from_secs(1)).await;
        let books = pipeline.ledger().books();
        assert_eq!(
            (books.replayed, books.unused_handovers),
            (2, 1),
            "{what}: {books}"
        );
        retire(pipeline).await;
        assert_eq!(backend.taken(), [1, 2], "{what}");
    }
}

/// A batch that was accepted after the handover was written makes the handover old, even if the
/// start could not use it.
#[tokio::test(start_paused = true)]
async fn what_is_old_is_not_used() {
    let (disk, backend, diary) = (Disk::default(), Backend::new([]), Diary::default());
    let stages = || row(&dedup(&diary), &sampler(&diary));
    a_life(&disk, stages(), &backend).await;
    let mut old = None;
    disk.handover(|left| old = left.take());
    let pipeline = start(&disk, stages(), &backend).await;
    offer(&pipeline, spans([3])).await.unwrap();
    sleep(Duration::from_millis(10)).await;
    kill(&disk, pipeline).await;
    disk.handover(|left| *left = old);
    let pipeline = start(&disk, stages(), &backend).await;
    offer(&pipeline, spans([999])).await.unwrap();
    sleep(Duration::from_millis(50)).await;
    assert_eq!(pipeline.ledger().books().unused_handovers, 1);
    retire(pipeline).await;
    assert_eq!(backend.taken(), [1, 2, 3, 999]);
}

/// A batch that a stage knows and that is to be tried again would be its own duplicate: in that
/// case no handover is left, and the next process starts without state.
#[tokio::test(start_paused = true)]
async fn a_failed_batch_is_no_duplicate_of_itself() {
    let (disk, backend, diary) = (Disk::default(), Backend::new([]), Diary::default());
    let fails = StatefulPlugin {
        fails_on: |id| id == 2,
        ..StatefulPlugin::default()
    };
    let refusing = |plugin: &StatefulPlugin| {
        let mut spec = plugin.stage("sampler");
        spec.on_fault = FaultPolicy::Refuse;
        vec![dedup(&diary).stage("dedup"), spec]
    };
    let pipeline = start(&disk, refusing(&fails), &backend).await;
    offer(&pipeline, spans([1])).await.unwrap();
    offer(&pipeline, spans([2])).await.unwrap();
    sleep(Duration::from_millis(500)).await;
    assert_eq!((backend.taken(), disk.ingress()), (vec![1], vec![2]));
    drain(pipeline).await;
    let pipeline = start(&disk, refusing(&StatefulPlugin::default()), &backend).await;
    sleep(Duration::from_millis(10)).await;
    assert_eq!((backend.taken(), disk.ingress()), (vec![1, 2], vec![]));
    drain(pipeline).await;
}

/// A disk that refuses the handover, or a shard that does not end, costs the state, but no span.
#[tokio::test(start_paused = true)]
async fn a_stop_that_fails_loses_no_span() {
    for hangs in [false, true] {
        let (disk, backend, diary) = (Disk::default(), Backend::new([]), Diary::default());
        let lost = StatefulPlugin {
            lost_in: |ids| ids.contains(&3),
            ..sampler(&diary)
        };
        let pipeline = start(&disk, row(&dedup(&diary), &lost), &backend).await;
        offer(&pipeline, spans([1, 2])).await.unwrap();
        sleep(Duration::from_millis(10)).await;
        if hangs {
            offer(&pipeline, spans([3])).await.unwrap();
        } else {
            disk.set(|condition| condition.handover_full = true);
        }
        drain(pipeline).await;
        let pipeline = start(&disk, row(&dedup(&diary), &sampler(&diary)), &backend).await;
        offer(&pipeline, spans([999])).await.unwrap();
        sleep(Duration::from_millis(50)).await;
        retire(pipeline).await;
        let mut taken = backend.taken();
        taken.retain(|id| *id < 3);
        assert_eq!(taken, [1, 2], "{hangs}");
    }
}

/// A canary's held items and state go on as well.
#[tokio::test(start_paused = true)]
async fn a_canary_ends_with_the_process() {
    let (disk, backend, diary) = (Disk::default(), Backend::new([]), Diary::default());
    let spec = sampler(&diary).stage("sampler");
    let pipeline = start(&disk, vec![spec.clone()], &backend).await;
    let mode = Mode::Canary(Share::from_percent(50.0).unwrap());
    let candidate = StatefulPlugin {
        number: 2,
        ..sampler(&diary)
    };
    let with_canary = with_candidate(&spec, &candidate.generation(), mode);
    pipeline.change(vec![with_canary]).await.unwrap();
    offer(&pipeline, spans(0..40)).await.unwrap();
    sleep(Duration::from_millis(10)).await;
    assert!(!diary.saw(2).is_empty() && !diary.saw(1).is_empty());
    drain(pipeline).await;
    assert_eq!(backend.taken(), []);
    let pipeline = start(&disk, vec![sampler(&diary).stage("sampler")], &backend).await;
    assert_eq!(pipeline.ledger().books().held(), 40);
    offer(&pipeline, spans([999])).await.unwrap();
    sleep(Duration::from_millis(10)).await;
    assert_eq!(backend.taken(), (0..40).collect::<Vec<u64>>());
    drain(pipeline).await;
}
