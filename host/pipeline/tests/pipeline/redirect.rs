//! Tests of a receiver that is redirected to other pipelines while requests are on their way.

use std::sync::Arc;
use std::time::Duration;

use spandrel_pipeline::ingress::Ingress;
use spandrel_pipeline::pipeline::{Pipeline, PipelineConfig};
use spandrel_pipeline::refused::Refused;
use spandrel_pipeline::stage::Dispatch;
use spandrel_wire::Signal;
use tokio::time::{Instant, sleep};

use crate::edges::*;
use crate::gate::gated;
use crate::stateful_plugin::{StatefulPlugin, swapped};

async fn to(backend: &Arc<Backend>) -> Pipeline {
    let config = config(vec![], vec![exporter(backend, 100)]);
    Pipeline::build(config).await.unwrap()
}

/// From a redirect on, requests go to the new pipelines, also through clones, and a signal is
/// carried while there is a pipeline for it.
#[tokio::test(start_paused = true)]
async fn requests_go_where_it_leads() {
    let (first, second) = (Backend::new([]), Backend::new([]));
    let (one, two) = (to(&first).await, to(&second).await);
    let logs = PipelineConfig {
        name: "logs".to_owned(),
        signal: Signal::Logs,
        ..config(vec![], vec![exporter(&second, 100)])
    };
    let logs = Pipeline::build(logs).await.unwrap();
    let receiver = Pipeline::fan_out([&one]);
    let ingress = receiver.clone();
    let carried = || [Signal::Traces, Signal::Logs].map(|signal| ingress.carries(signal));
    ingress.offer(Signal::Traces, spans([1])).await.unwrap();
    assert_eq!(carried(), [true, false]);
    receiver.redirect(&Pipeline::fan_out([&one, &two]));
    ingress.offer(Signal::Traces, spans([2])).await.unwrap();
    receiver.redirect(&Pipeline::fan_out([&two, &logs]));
    ingress.offer(Signal::Traces, spans([3])).await.unwrap();
    assert_eq!(carried(), [true, true]);
    receiver.redirect(&Pipeline::fan_out([&logs]));
    assert_eq!(carried(), [false, true]);
    let nowhere = ingress.offer(Signal::Traces, spans([4])).await;
    assert!(matches!(nowhere, Err(Refused::Invalid(_))), "{nowhere:?}");
    for pipeline in [one, two, logs] {
        drain(pipeline).await;
    }
    assert_eq!((first.taken(), second.taken()), (vec![1, 2], vec![2, 3]));
    assert_eq!(receiver.offered().accepted(Signal::Traces), 3);
}

/// A request that waits for admission to a pipeline that is removed goes to the new one instead of
/// being refused, and counts once.
#[tokio::test(start_paused = true)]
async fn who_waits_at_a_closed_door_goes_on() {
    let (dead, alive) = (Backend::new([Reaction::Hang]), Backend::new([]));
    let mut full = exporter(&dead, 1);
    full.queue.block_on_overflow = true;
    let old = Pipeline::build(config(vec![], vec![full])).await.unwrap();
    let new = to(&alive).await;
    let receiver = Pipeline::fan_out([&old]);
    receiver.offer(Signal::Traces, spans([1])).await.unwrap();
    let waits = receiver.offer(Signal::Traces, spans([2]));
    let reload = async {
        sleep(Duration::from_secs(3)).await;
        receiver.redirect(&Pipeline::fan_out([&new]));
        drain(old).await;
    };
    let (answer, ()) = tokio::join!(waits, reload);
    answer.expect("taken by the new pipeline");
    drain(new).await;
    assert_eq!(alive.taken(), [2]);
    let offered = receiver.offered();
    let counted = [
        offered.accepted(Signal::Traces),
        offered.refused(Signal::Traces),
    ];
    assert_eq!(counted, [2, 0]);
}

/// An admitted request is answered by the pipeline that it is in, which drains afterwards.
#[tokio::test(start_paused = true)]
async fn requests_in_flight_finish_where_they_began() {
    let (before, after) = (Backend::new([]), Backend::new([]));
    let (stage, gate) = gated();
    let exporters = vec![exporter(&before, 100)];
    let old = Pipeline::build(config(vec![stage], exporters))
        .await
        .unwrap();
    let new = to(&after).await;
    let receiver = Pipeline::fan_out([&old]);
    let in_flight = receiver.offer(Signal::Traces, spans([1]));
    let reload = async {
        gate.entered(1).await;
        receiver.redirect(&Pipeline::fan_out([&new]));
        receiver.offer(Signal::Traces, spans([2])).await.unwrap();
        let opened = async {
            sleep(Duration::from_secs(1)).await;
            gate.open();
        };
        let (drained, ()) = tokio::join!(drain(old), opened);
        assert!(drained.in_time);
    };
    let (answer, ()) = tokio::join!(in_flight, reload);
    answer.expect("accepted where it was");
    drain(new).await;
    assert_eq!((before.taken(), after.taken()), (vec![1], vec![2]));
}

/// Without a redirect a closed pipeline means a drain, and the sender is told so.
#[tokio::test(start_paused = true)]
async fn a_drain_is_still_a_drain() {
    let backend = Backend::new([]);
    let pipeline = to(&backend).await;
    let receiver = Pipeline::fan_out([&pipeline]);
    pipeline.close();
    let refused = receiver.offer(Signal::Traces, spans([1])).await;
    assert!(matches!(refused, Err(Refused::Draining)), "{refused:?}");
    assert_eq!(receiver.offered().refused(Signal::Traces), 1);
    drain(pipeline).await;
}

/// A request that waits for room in one pipeline's queue does not block any other pipeline: its
/// stages can change, and its shards are free.
#[tokio::test(start_paused = true)]
async fn who_waits_for_a_queue_holds_nobody_up() {
    let (dead, alive) = (Backend::new([Reaction::Hang]), Backend::new([]));
    let mut full = exporter(&dead, 1);
    full.queue.block_on_overflow = true;
    let behind = Pipeline::build(config(vec![], vec![full])).await.unwrap();
    let stage = StatefulPlugin::default().stage("a");
    let mut first = config(vec![stage.clone()], vec![exporter(&alive, 100)]);
    first.shards = 2;
    let first = Pipeline::build(first).await.unwrap();
    let receiver = Pipeline::fan_out([&first, &behind]);
    receiver.offer(Signal::Traces, spans([1])).await.unwrap();
    let waits = receiver.offer(Signal::Traces, spans([2]));
    let changed = async {
        sleep(Duration::from_secs(1)).await;
        let strict = StatefulPlugin {
            number: 2,
            dispatch: Dispatch::ByTrace,
            ..StatefulPlugin::default()
        };
        let next = swapped(&stage, &strict.generation());
        let started = Instant::now();
        first.change(vec![next]).await.unwrap();
        started.elapsed()
    };
    let (answer, took) = tokio::join!(waits, changed);
    answer.expect("the first one has it");
    assert!(took < Duration::from_secs(1), "{took:?}");
    drain(first).await;
    assert_eq!(alive.taken(), [1, 2]);
    drain(behind).await;
}
