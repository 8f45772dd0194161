//! Tests of state: it goes from one instance to the next.

use std::time::Duration;

use spandrel_pipeline::stage::{Generation as _, Instance as _, State};
use spandrel_plugin::metrics::Value;
use spandrel_plugin::{Engine, EngineConfig, Generation};

use crate::guests::guest;
use crate::setup::{generation, input, instance, load};

/// The next generation continues from the count of the last one.
#[tokio::test]
async fn a_count_is_carried_over() {
    let generation = generation("stateful").await;
    assert_eq!(generation.manifest().state_version, 3);
    let mut old = generation.instance().await.expect("an instance");
    old.process(1, &input(5)).await.expect("a reply");
    let state = old.snapshot().await.expect("no fault").expect("a state");
    assert_eq!(state.version, 3);

    let mut new = generation.instance().await.expect("an instance");
    assert_eq!(new.restore(state).await.expect("no fault"), Ok(()));
    new.process(1, &input(2)).await.expect("a reply");
    let metrics = generation.metrics().snapshot();
    assert_eq!(metrics, [("seen".to_owned(), Value::Gauge(7.0))]);
}

/// A refusal has the guest's words and is not a fault: the instance goes on.
#[tokio::test]
async fn a_state_of_another_version_is_refused() {
    let mut instance = instance("stateful").await;
    let state = State {
        version: 2,
        bytes: vec![0; 8],
    };
    let answer = instance.restore(state).await.expect("no fault");
    assert_eq!(answer, Err("state version 2 is not 3".to_owned()));
    assert!(instance.process(1, &input(1)).await.is_ok());
}

/// A guest without a state says so.
#[tokio::test]
async fn there_may_be_nothing_to_carry() {
    let mut instance = instance("unchanged").await;
    assert_eq!(instance.snapshot().await.expect("no fault"), None);
}

/// Instances share nothing: a batch that one has seen, another has not.
#[tokio::test]
async fn instances_share_nothing() {
    let generation = generation("stateful").await;
    let mut first = generation.instance().await.expect("an instance");
    let mut second = generation.instance().await.expect("an instance");
    first.process(1, &input(5)).await.expect("a reply");
    let state = second.snapshot().await.expect("no fault").expect("a state");
    assert_eq!(state.bytes, [0; 8]);
}

/// The pool's limit is an error with a cause, and an instance that is dropped makes room.
#[tokio::test]
async fn a_full_pool_is_an_error_until_one_goes() {
    let config = EngineConfig {
        instances: 1,
        cache: None,
        ..EngineConfig::default()
    };
    let engine = Engine::new(&config).expect("an engine");
    let generation = Generation::load(&engine, load(guest("unchanged")))
        .await
        .expect("a generation");
    let first = generation.instantiate().await.expect("an instance");
    let Err(error) = generation.instantiate().await else {
        panic!("a second instance in a pool of one");
    };
    let words = error.to_string();
    assert!(
        words.starts_with("cannot instantiate the plugin: all places"),
        "{words}"
    );
    assert!(error.source.is_some());
    drop(first);
    let mut second = generation.instantiate().await.expect("an instance");
    let drained = second.drain(
        spandrel_pipeline::stage::DrainReason::Shutdown,
        Duration::from_secs(1),
    );
    assert!(drained.await.is_ok());
}
