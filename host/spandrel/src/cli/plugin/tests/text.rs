use spandrel_collector::report::{
    DifferenceView, DriftView, FiguresView, GenerationView, ReversalView, StageDriftView,
};

use super::super::*;

fn generation(number: u64, status: &str) -> GenerationView {
    GenerationView {
        number,
        plugin: "tag-by-service".to_owned(),
        version: format!("0.1.{number}"),
        module: "/plugins/tag.wasm".to_owned(),
        sha256: "0123456789abcdef".repeat(4),
        config_sha256: "fedcba9876543210".repeat(4),
        config: serde_json::json!({ "team": "core" }),
        loaded_at: "2026-11-22T14:00:00.000Z".to_owned(),
        status: status.to_owned(),
        state: "carried".to_owned(),
        figures: FiguresView {
            generation: number,
            input: 1_234_567 / number,
            output: 1_200_000 / number,
            dropped: 34_567 / number,
            calls: 2412,
            faults: 0,
            bypassed: 0,
            call_us: 1500,
        },
    }
}

fn stages() -> Vec<StageView> {
    let tag = StageView {
        stage: "wasm/tag".to_owned(),
        pipelines: vec!["traces".to_owned(), "traces/eu".to_owned()],
        running: generation(2, "running"),
        previous: Some(generation(1, "previous")),
        candidate: Some(generation(3, "canary 10%")),
        swap: Some("probing".to_owned()),
        held: 1200,
        held_bytes: 700_000,
        breakers_open: 1,
        quarantined: 2,
        retried: 40,
        on_fault: "pass".to_owned(),
        ..StageView::default()
    };
    let first = StageView {
        stage: "wasm/drop_health_checks".to_owned(),
        pipelines: vec!["traces".to_owned()],
        running: generation(1, "running"),
        ..StageView::default()
    };
    vec![tag, first]
}

/// Stages are in the order of their pipelines, numbers are right-aligned, a candidate is below the
/// generation that it may replace, and no line has trailing spaces.
#[test]
fn the_list_is_aligned() {
    let mut all = stages();
    let pipeline = PipelineView {
        stages: vec!["wasm/drop_health_checks".to_owned(), "wasm/tag".to_owned()],
        ..PipelineView::default()
    };
    stages::sort(&mut all, &[pipeline]);
    let expected = "\
STAGE                    GEN  STATUS      PLUGIN                SHA256               IN        OUT  DROPPED   HELD  FAULTS  PIPELINES          NOTE
wasm/drop_health_checks    1  running     tag-by-service 0.1.1  0123456789ab  1,234,567  1,200,000   34,567      0       0  traces
wasm/tag                   2  running     tag-by-service 0.1.2  0123456789ab    617,283    600,000   17,283  1,200       0  traces, traces/eu  swap: probing, 1 breaker open, 2 batches in quarantine
                           3  canary 10%  tag-by-service 0.1.3  0123456789ab    411,522    400,000   11,522              0
";
    let text = stages::list(&all, Paint::never());
    assert_eq!(text, expected, "\n{text}");
    let none = stages::list(&[], Paint::never());
    assert_eq!(none, "this collector has no stages\n");
}

/// One stage is shown with all its generations, the newest first.
#[test]
fn a_stage_is_shown() {
    let mut stage = stages().swap_remove(0);
    stage.candidate = None;
    let dropped = [("health", 1200), ("duplicate", 30)];
    stage.dropped = dropped
        .map(|(reason, items)| (reason.to_owned(), items))
        .into();
    let expected = "\
wasm/tag
  pipelines      traces, traces/eu
  held           1,200 items, 700,000 bytes
  dropped        30 duplicate
  dropped        1,200 health
  retried        40 items after a fault
  on_fault       pass
  note           swap: probing
  note           1 breaker open
  note           2 batches in quarantine

generation 2, running
  plugin         tag-by-service 0.1.2
  module         /plugins/tag.wasm
  sha256         0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef
  config         {\"team\":\"core\"}
  config_sha256  fedcba9876543210fedcba9876543210fedcba9876543210fedcba9876543210
  loaded         2026-11-22T14:00:00.000Z
  state          carried
  items          617,283 in, 600,000 out, 17,283 dropped
  calls          2,412, 1.5 ms each, 0 faults

generation 1, previous
  plugin         tag-by-service 0.1.1
";
    let text = stages::details(&stage, Paint::never());
    assert!(text.starts_with(expected), "\n{text}");
    let expected = "\
STAGE     REASON     DROPPED
wasm/tag  duplicate       30
wasm/tag  health       1,200
";
    let text = stages::drops(&[stage], Paint::never());
    assert_eq!(text, expected, "\n{text}");
    let none = stages::drops(&stages(), Paint::never());
    assert_eq!(none, "nothing was dropped\n");
}

/// Everything out of the ordinary is noted: items that passed without a judgement, a generation
/// that was taken back automatically, and differences between what runs and the configuration,
/// without secrets.
#[test]
fn what_is_out_of_the_ordinary_is_noted() {
    let mut stage = stages().swap_remove(1);
    assert_eq!(notes::of(&stage), Vec::<String>::new());
    stage.on_fault = "pass".to_owned();
    stage.bypassing = true;
    stage.running.figures.bypassed = 1554;
    stage.undone = Some(ReversalView {
        event: "rolled back".to_owned(),
        generation: 2,
        at: "2026-11-22T14:00:00.000Z".to_owned(),
        why: "drops 40.0 % against 10.0 % before".to_owned(),
    });
    let of_config = |at: &str, running: Option<&str>, configured: Option<&str>| DriftView {
        part: "config".to_owned(),
        at: at.to_owned(),
        running: running.map(Into::into),
        configured: configured.map(Into::into),
    };
    stage.drift = vec![
        of_config("/team", Some("core"), None),
        of_config("/token", Some("[REDACTED]"), Some("[REDACTED]")),
    ];
    assert_eq!(
        notes::of(&stage),
        [
            "1,554 items passed unjudged (on_fault: pass)",
            "rolled back to generation 1 from 2: drops 40.0 % against 10.0 % before",
            "differs from the configuration: config"
        ]
    );
    let differences: Vec<String> = stage.drift.iter().map(notes::difference).collect();
    assert_eq!(
        differences,
        [
            "config /team: \"core\" runs, nothing is configured",
            "config /token differs, and is not shown"
        ]
    );
    let text = stages::list(&[stage], Paint::never());
    assert!(text.contains("  bypassed  "), "{text}");
}

fn report(outcome: &str) -> SwapReport {
    SwapReport {
        stage: "wasm/tag".to_owned(),
        outcome: outcome.to_owned(),
        generation: 3,
        previous: 2,
        sha256: "0123456789abcdef".repeat(4),
        state: "carried".to_owned(),
        elapsed_ms: 812,
        pause_us: 1234,
    }
}

/// Each outcome is a sentence, with its figures.
#[test]
fn outcomes_are_told() {
    let rest = "  sha256   0123456789ab
  state    carried
  before   generation 2
  took     812.0 ms, longest pause of a shard 1.2 ms
";
    for (outcome, first) in [
        ("published", "wasm/tag: generation 3 published\n"),
        ("rolled back", "wasm/tag: rolled back to generation 3\n"),
        ("would publish", "wasm/tag: would publish generation 3\n"),
        (
            "unchanged",
            "wasm/tag: unchanged, generation 3 has these bytes and this config already\n",
        ),
    ] {
        let text = stages::report(&report(outcome), Paint::never());
        assert_eq!(text, format!("{first}{rest}"));
    }
    let expected = "\
wasm/tag: generation 3 runs beside generation 2: canary 10%
  sha256   0123456789ab
  state    carried
  took     812.0 ms, longest pause of a shard 1.2 ms
  next     spandrel plugin promote wasm/tag, or spandrel plugin cancel wasm/tag
";
    let text = stages::report(&report("canary 10%"), Paint::never());
    assert_eq!(text, expected, "\n{text}");
    let changes = vec!["stage wasm/tag: another config".to_owned()];
    let mut report = ReloadReport {
        changes,
        left: Vec::new(),
        elapsed_ms: 1500,
        ..ReloadReport::default()
    };
    let text = stages::reloaded(&report);
    assert_eq!(text, "stage wasm/tag: another config\ntook 1.5 s\n");
    report.changes.clear();
    assert_eq!(
        stages::reloaded(&report),
        "nothing has changed, took 1.5 s\n"
    );
    report.left = vec![StageDriftView {
        stage: "wasm/tag".to_owned(),
        drift: vec![DriftView {
            part: "config".to_owned(),
            at: "/team".to_owned(),
            running: Some("core".into()),
            configured: Some("shop".into()),
        }],
    }];
    let expected = "\
the configuration has not changed
stage wasm/tag runs something else, left as it is
  config /team: \"core\" runs, \"shop\" is configured
  to take over what is configured: spandrel plugin swap wasm/tag --as-configured
took 1.5 s
";
    assert_eq!(stages::reloaded(&report), expected);
}

fn event(sequence: u64, event: &str) -> EventView {
    EventView {
        sequence,
        at: "2026-11-22T14:00:00.000Z".to_owned(),
        stage: "wasm/tag".to_owned(),
        generation: sequence,
        sha256: "0123456789abcdef".repeat(4),
        event: event.to_owned(),
        by: "admin".to_owned(),
        detail: "state carried".to_owned(),
        elapsed_ms: Some(812),
        pause_us: (sequence > 1).then_some(950),
    }
}

/// The history is a table, and `--watch` continues it.
#[test]
fn the_history_is_a_table() {
    let events = [event(1, "loaded"), event(2, "published")];
    let expected = "\
AT                        STAGE     GEN  EVENT      BY     SHA256            TOOK   PAUSE  DETAIL
2026-11-22T14:00:00.000Z  wasm/tag    1  loaded     admin  0123456789ab  812.0 ms          state carried
2026-11-22T14:00:00.000Z  wasm/tag    2  published  admin  0123456789ab  812.0 ms  950 us  state carried
";
    let text = events::history(&events, Paint::never());
    assert_eq!(text, expected, "\n{text}");
    let mut lines = events::Lines::new(&events, Paint::never());
    let first = lines.next(&events[0]);
    let second = lines.next(&event(3, "rolled back"));
    let places = [first.lines().next(), first.lines().nth(1), Some(&second)];
    let details = places.map(|line| {
        let line = line.expect("a line");
        line.find("DETAIL").or_else(|| line.find("state carried"))
    });
    assert!(
        details[0].is_some() && details.iter().all(|place| *place == details[0]),
        "{first}\n{second}"
    );
    let none = events::history(&[], Paint::never());
    assert_eq!(none, "nothing has happened yet\n");
}

/// A shadow's differences are counted by service and span, with an example to look at.
#[test]
fn differences_are_shown() {
    let view = ShadowView {
        stage: "wasm/tag".to_owned(),
        running: 2,
        shadow: 3,
        compared: 12_000,
        different: 60,
        unsettled: 5,
        faults: 1,
        differences: vec![DifferenceView {
            service: "checkout".to_owned(),
            span: "GET /healthz".to_owned(),
            running: "keep".to_owned(),
            shadow: "drop: health".to_owned(),
            count: 60,
            examples: vec![("ab".repeat(16), "cd".repeat(8))],
        }],
    };
    let expected = "\
wasm/tag: generation 3 in the shadow of 2
  12,000 items compared, 60 differ (0.50 %), 5 not settled, 1 faults

COUNT  SERVICE   SPAN          RUNNING  SHADOW        EXAMPLE (TRACE, SPAN)
   60  checkout  GET /healthz  keep     drop: health  abababababababababababababababab cdcdcdcdcdcdcdcd
";
    let text = events::shadow(&view, Paint::never());
    assert_eq!(text, expected, "\n{text}");
}
