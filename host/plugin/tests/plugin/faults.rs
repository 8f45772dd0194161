//! Tests of faults: a guest that fails is stopped within its limits, and its fault gives the
//! reason.

use std::time::Duration;

use spandrel_pipeline::stage::{DrainReason, FaultKind, Input, Instance as _, NewReads};
use spandrel_supply::InstanceLimits;
use spandrel_wire::Reads;
use tokio::time::Instant;

use crate::setup::{batch, fault, field, generation_within, input, instance, span};

/// Far more than a deadline, and enough for a machine under load.
const SOON: Duration = Duration::from_secs(5);

/// A guest that never answers a batch is stopped at the deadline, and others had turns meanwhile.
#[tokio::test]
async fn a_loop_is_stopped_and_others_go_on() {
    let mut instance = instance("loop_in_process").await;
    let started = Instant::now();
    let others = async {
        for _ in 0..5 {
            tokio::task::yield_now().await;
        }
        started.elapsed()
    };
    let (fault, others) = tokio::join!(fault(&mut instance, FaultKind::Deadline), others);
    let elapsed = started.elapsed();
    assert_eq!(fault.message, "ran past its deadline of 100 ms");
    assert!(elapsed >= Duration::from_millis(100), "{elapsed:?}");
    assert!(elapsed < SOON, "{elapsed:?}");
    assert!(others < elapsed, "others waited {others:?} of {elapsed:?}");
}

/// A stage's own deadline is the one that applies.
#[tokio::test]
async fn a_stage_sets_its_own_deadline() {
    let limits = InstanceLimits {
        call_deadline: Duration::from_millis(7),
        ..InstanceLimits::default()
    };
    let generation = generation_within("loop_in_process", limits).await;
    let mut instance = generation.instance().await.expect("an instance");
    let fault = fault(&mut instance, FaultKind::Deadline).await;
    assert_eq!(fault.message, "ran past its deadline of 7 ms");
}

/// A loop in a tick is stopped like one in a batch.
#[tokio::test]
async fn a_loop_in_a_tick_is_stopped() {
    let mut instance = instance("loop_in_tick").await;
    assert!(instance.process(1, &input(3)).await.is_ok());
    let fault = instance.tick().await.expect_err("a fault");
    assert_eq!(fault.kind, FaultKind::Deadline);
}

/// A drain runs for as long as its caller allows, and not longer than the stage allows.
#[tokio::test]
async fn a_loop_in_a_drain_is_stopped_at_the_callers_deadline() {
    let mut first = instance("loop_in_drain").await;
    let fault = first
        .drain(DrainReason::Shutdown, Duration::from_millis(20))
        .await
        .expect_err("a fault");
    assert_eq!(fault.message, "ran past its deadline of 20 ms");

    let limits = InstanceLimits {
        drain_deadline: Duration::from_millis(30),
        ..InstanceLimits::default()
    };
    let generation = generation_within("loop_in_drain", limits).await;
    let mut second = generation.instance().await.expect("an instance");
    let fault = second
        .drain(DrainReason::Swap, Duration::from_secs(3600))
        .await
        .expect_err("a fault");
    assert_eq!(fault.message, "ran past its deadline of 30 ms");
}

/// A guest that sleeps in WASI uses no CPU time, and is stopped all the same.
#[tokio::test]
async fn a_sleeping_guest_is_stopped() {
    let mut instance = instance("sleep").await;
    tokio::time::pause();
    let started = Instant::now();
    fault(&mut instance, FaultKind::Deadline).await;
    assert!(started.elapsed() <= Duration::from_millis(201));
}

/// A trap without a message is reported in wasmtime's words.
#[tokio::test]
async fn a_trap_is_a_fault() {
    let mut instance = instance("trap").await;
    let fault = fault(&mut instance, FaultKind::Trap).await;
    assert_eq!(
        fault.to_string(),
        "trap: wasm `unreachable` instruction executed"
    );
}

/// A panic arrives with its place and message on one line, fit for a terminal.
#[tokio::test]
async fn a_panic_arrives_with_its_message_and_place() {
    let mut instance = instance("panic_message").await;
    let fault = fault(&mut instance, FaultKind::Trap).await;
    let bytes = batch(3).len();
    assert_eq!(
        fault.message,
        format!(
            "panicked at tests/guests/examples/panic_message.rs:12:9: \
             cannot judge {bytes} bytes see \\u{{1b}}[31mbelow"
        )
    );
}

/// A guest that panics on one batch does so on that one only.
#[tokio::test]
async fn a_poisoned_batch_is_a_fault_and_others_are_not() {
    let mut instance = instance("poison").await;
    assert!(instance.process(1, &input(3)).await.is_ok());
    let spans = field(2, &span(1, "spandrel.test.poison"));
    let poisoned = field(1, &field(2, &spans));
    let fault = instance
        .process(2, &poisoned.into())
        .await
        .expect_err("a fault");
    assert_eq!(fault.kind, FaultKind::Trap);
    assert!(fault.message.ends_with("poisoned batch"), "{fault}");
}

/// A guest cannot end the process, only itself. WASI distinguishes only success from failure.
#[tokio::test]
async fn an_exit_is_a_fault() {
    let mut instance = instance("exit").await;
    let fault = fault(&mut instance, FaultKind::Trap).await;
    assert_eq!(fault.message, "called exit(1)");
}

/// Memory ends at the limit, and the fault names the limit.
#[tokio::test]
async fn memory_ends_at_its_limit() {
    let limits = InstanceLimits {
        memory_bytes: 8 << 20,
        ..InstanceLimits::default()
    };
    let generation = generation_within("grow_memory", limits).await;
    let mut instance = generation.instance().await.expect("an instance");
    assert!(instance.memory_bytes() < 8 << 20);
    let fault = fault(&mut instance, FaultKind::Memory).await;
    assert!(
        fault
            .message
            .ends_with("KiB of memory, the limit is 8192 KiB"),
        "{fault}"
    );
    assert_eq!(instance.memory_bytes(), 0, "the store is gone");
}

/// Recursion ends at the guest's stack, not at ours.
#[tokio::test]
async fn recursion_ends_at_the_stack() {
    let mut instance = instance("recurse").await;
    let fault = fault(&mut instance, FaultKind::Trap).await;
    assert!(
        fault.message == "call stack exhausted" || fault.message.contains("out of bounds"),
        "{fault}"
    );
}

/// A reply over the limit is not copied to the host.
#[tokio::test]
async fn a_huge_reply_is_refused() {
    let mut instance = instance("reply_huge").await;
    let fault = fault(&mut instance, FaultKind::BadReply).await;
    assert_eq!(fault.message, "gave the host more than 16384 KiB at once");
}

/// A guest gets the whole batch behind a projection once in a call, with the edits of earlier
/// stages; asking again, which costs the host another copy, is a fault. With a whole batch, the
/// guest gets nothing.
#[tokio::test]
async fn the_whole_batch_is_given_once() {
    let mut instance = instance("batch_twice").await;
    for _ in 0..2 {
        let reply = instance.process(1, &input(3)).await.expect("a reply");
        assert_eq!(reply.reads, Some(NewReads::default()));
    }
    let projected = Input::projected(batch(3).into(), Reads::new());
    let fault = instance.process(2, &projected).await.expect_err("a fault");
    assert_eq!(fault.kind, FaultKind::Trap);
    assert_eq!(fault.message, "asked for the whole batch twice");
}

/// However many reads a guest reports, they are within the limit of a reply, and so is the host.
#[tokio::test]
async fn very_many_reads_are_a_reply() {
    let mut instance = instance("reads_huge").await;
    let reply = instance.process(1, &input(3)).await.expect("a reply");
    assert_eq!(
        reply.reads.map(|reads| reads.attributes.len()),
        Some(10_000)
    );
    let mut small = generation_within(
        "reads_huge",
        InstanceLimits {
            reply_bytes: 64 << 10,
            ..InstanceLimits::default()
        },
    )
    .await
    .instance()
    .await
    .expect("an instance");
    fault(&mut small, FaultKind::BadReply).await;
}

/// After a fault every call fails with the same words: the store is gone.
#[tokio::test]
async fn after_a_fault_every_call_fails() {
    let mut instance = instance("trap").await;
    let first = fault(&mut instance, FaultKind::Trap).await;
    let process = instance
        .process(2, &Input::default())
        .await
        .expect_err("a fault");
    let tick = instance.tick().await.expect_err("a fault");
    let drain = instance.drain(DrainReason::Pressure, SOON).await;
    let snapshot = instance.snapshot().await.expect_err("a fault");
    for later in [process, tick, drain.expect_err("a fault"), snapshot] {
        assert_eq!(later.to_string(), first.to_string());
    }
}

/// A call that its caller gave up leaves no half-run guest behind.
#[tokio::test]
async fn a_call_that_was_given_up_ends_the_instance() {
    let mut instance = instance("sleep").await;
    tokio::time::pause();
    let call = tokio::time::timeout(
        Duration::from_millis(1),
        instance.process(1, &Input::default()),
    )
    .await;
    assert!(call.is_err(), "the call was under way");
    let fault = instance
        .process(2, &Input::default())
        .await
        .expect_err("a fault");
    assert_eq!(fault.message, "its last call was given up halfway");
}
