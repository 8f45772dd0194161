//! Tests of a guest's output: it arrives in the log, within its limits.

use spandrel_pipeline::stage::{FaultKind, Instance as _};
use spandrel_plugin::metrics::Value;
use spandrel_plugin::{Generation, LoadRequest};
use spandrel_supply::InstanceLimits;

use crate::capture::Capture;
use crate::guests::guest;
use crate::setup::{engine, fault, generation, generation_within, input, instance, load};

/// Each way of output ends in the log, under the plugin's name, in order.
#[tokio::test]
async fn every_line_arrives_with_its_origin() {
    let capture = Capture::start();
    let mut instance = instance("chatty").await;
    instance.process(1, &input(1)).await.expect("a reply");
    let fields = "plugin=\"chatty\" stage=wasm/test generation=1";
    assert_eq!(
        capture.lines("plugin"),
        [
            format!(" INFO plugin: from the host interface {fields}"),
            format!(" INFO plugin: from stdout {fields}"),
            format!(" WARN plugin: from stderr, in two parts {fields}"),
        ]
    );
}

/// A plugin's output while it is configured, before its name is known, is logged under its name; if
/// it never gives one, under the name of its file.
#[tokio::test]
async fn the_first_line_has_the_plugins_name() {
    let capture = Capture::start();
    let loaded = load(guest("chatty"));
    let talking = LoadRequest {
        config: r#"{"talk":true}"#,
        ..loaded
    };
    let generation = Generation::load(engine(), talking).await.expect("loads");
    drop(generation);
    assert_eq!(
        capture.lines("plugin"),
        [" INFO plugin: from configure plugin=\"chatty\" stage=wasm/test generation=1"]
    );
    let capture = Capture::start();
    let refused = LoadRequest {
        config: r#"{"talk":true,"refuse":true}"#,
        ..load(guest("chatty"))
    };
    let error = Generation::load(engine(), refused).await;
    error.expect_err("refused");
    let lines = capture.lines("plugin");
    let [line] = lines.as_slice() else {
        panic!("{lines:?}");
    };
    assert!(
        line.starts_with(" INFO plugin: from configure plugin=\"")
            && line.contains("chatty.wasm\""),
        "{line}"
    );
}

/// A flood is cut at the rate of the stage, and the lines left out are counted exactly.
#[tokio::test]
async fn a_flood_is_limited_and_counted() {
    let capture = Capture::start();
    let limits = InstanceLimits {
        log_lines_per_second: 20,
        call_deadline: std::time::Duration::from_secs(10),
        ..InstanceLimits::default()
    };
    let generation = generation_within("log_flood", limits).await;
    let mut instance = generation.instance().await.expect("an instance");
    let started = tokio::time::Instant::now();
    instance.process(1, &input(1)).await.expect("a reply");
    let seconds = started.elapsed().as_secs();
    drop(instance);
    let lines = capture.lines("plugin");
    let (reports, said): (Vec<_>, Vec<_>) = lines
        .iter()
        .partition(|line| line.contains("plugin log lines suppressed"));
    let suppressed: usize = reports
        .iter()
        .map(|line| number_after(line, "suppressed="))
        .sum();
    assert_eq!(said.len() + suppressed, 10_000);
    let most = 20 * (usize::try_from(seconds).expect("few") + 2);
    assert!(said.len() <= most, "{} lines in {seconds} s", said.len());
    assert_eq!(
        lines.first().map(String::as_str),
        Some("ERROR plugin: line 0 plugin=\"log_flood\" stage=wasm/test generation=1")
    );
}

fn number_after(line: &str, mark: &str) -> usize {
    let (_, rest) = line.split_once(mark).expect("the field is there");
    let number = rest.split(' ').next().expect("a value");
    number.parse().expect("a number")
}

/// A line of 10 MiB is cut, and nothing in it reaches a terminal as a command.
#[tokio::test]
async fn a_huge_line_is_cut_and_escaped() {
    let capture = Capture::start();
    let limits = InstanceLimits {
        call_deadline: std::time::Duration::from_secs(10),
        ..InstanceLimits::default()
    };
    let generation = generation_within("log_huge_line", limits).await;
    let mut instance = generation.instance().await.expect("an instance");
    instance.process(1, &input(1)).await.expect("a reply");
    drop(instance);
    let lines = capture.lines("plugin");
    let [logged, printed] = lines.as_slice() else {
        panic!("{} lines", lines.len());
    };
    assert!(
        logged.contains("ERROR plugin: \\u{1b}[2J\\r\\n\\u{7}\\u{1b}[2J"),
        "{logged}"
    );
    assert!(
        logged.contains("[cut at 4096 of 10485755 bytes]"),
        "{logged}"
    );
    assert!(
        printed.contains("[cut at 4096 of 102400 bytes]"),
        "{printed}"
    );
    for line in lines {
        assert!(!line.chars().any(char::is_control), "{line}");
        assert!(line.len() < 40 << 10, "{} bytes", line.len());
    }
}

/// The words of a panic are in the log as well, to the last line.
#[tokio::test]
async fn the_last_words_are_logged() {
    let capture = Capture::start();
    let mut instance = instance("panic_message").await;
    fault(&mut instance, FaultKind::Trap).await;
    let lines = capture.lines("plugin");
    let has = |words: &str| lines.iter().any(|line| line.contains(words));
    assert!(
        has("panicked at tests/guests/examples/panic_message.rs"),
        "{lines:?}"
    );
    assert!(has("see \\u{1b}[31mbelow"), "{lines:?}");
}

/// A stage has at most 64 names for metrics; the first refusal is logged, all are counted.
#[tokio::test]
async fn metrics_are_limited() {
    let capture = Capture::start();
    let generation = generation("metric_flood").await;
    let mut instance = generation.instance().await.expect("an instance");
    instance.process(1, &input(1)).await.expect("a reply");
    instance.process(2, &input(1)).await.expect("a reply");
    let metrics = generation.metrics().snapshot();
    assert_eq!(metrics.len(), 64);
    assert!(metrics.iter().all(|(_, value)| *value == Value::Counter(2)));
    assert_eq!(generation.metrics().refused(), 2 * (10_000 - 64 + 3));
    assert_eq!(
        capture.lines("plugin"),
        [
            " WARN plugin: metric `name_64` refused: a stage has at most 64 names \
          plugin=\"metric_flood\" stage=wasm/test generation=1"
        ]
    );
}
