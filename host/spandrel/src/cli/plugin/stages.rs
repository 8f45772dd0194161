//! Stages, their generations and what became of a change, for people.

use super::paint::Paint;
use super::table::{Column, digest, micros, millis, number, table};
use crate::control::api::{GenerationView, PipelineView, ReloadReport, StageView, SwapReport};

/// In the order in which a batch comes to them.
pub(super) fn sort(stages: &mut [StageView], pipelines: &[PipelineView]) {
    let order: Vec<&str> = pipelines
        .iter()
        .flat_map(|pipeline| pipeline.stages.iter().map(String::as_str))
        .collect();
    // Those of no pipeline come last.
    stages.sort_by_key(|stage| {
        let place = order.iter().position(|name| *name == stage.stage);
        place.unwrap_or(usize::MAX)
    });
}

/// `ls`: a row for each generation that gets batches.
pub(super) fn list(stages: &[StageView], paint: Paint) -> String {
    if stages.is_empty() {
        return "this collector has no stages\n".to_owned();
    }
    let columns = [
        Column::Left("STAGE"),
        Column::Right("GEN"),
        Column::Status("STATUS"),
        Column::Left("PLUGIN"),
        Column::Left("SHA256"),
        Column::Right("IN"),
        Column::Right("OUT"),
        Column::Right("DROPPED"),
        Column::Right("HELD"),
        Column::Right("FAULTS"),
        Column::Left("PIPELINES"),
        Column::Left("NOTE"),
    ];
    let mut rows = Vec::new();
    for stage in stages {
        rows.push(row(stage, &stage.running, &stage.stage));
        if let Some(candidate) = &stage.candidate {
            rows.push(row(stage, candidate, ""));
        }
    }
    table(&columns, &rows, paint)
}

fn row(stage: &StageView, generation: &GenerationView, name: &str) -> Vec<String> {
    let of_stage = |text: String| if name.is_empty() { String::new() } else { text };
    let figures = &generation.figures;
    vec![
        name.to_owned(),
        generation.number.to_string(),
        generation.status.clone(),
        plugin(generation),
        digest(&generation.sha256),
        number(figures.input),
        number(figures.output),
        number(figures.dropped),
        of_stage(number(stage.held)),
        number(figures.faults),
        of_stage(stage.pipelines.join(", ")),
        of_stage(note(stage)),
    ]
}

fn plugin(generation: &GenerationView) -> String {
    let GenerationView {
        plugin, version, ..
    } = generation;
    format!("{plugin} {version}").trim().to_owned()
}

/// What somebody should know of a stage at a glance.
fn note(stage: &StageView) -> String {
    let mut notes = Vec::new();
    if let Some(swap) = &stage.swap {
        notes.push(format!("swap: {swap}"));
    }
    for (count, one, more) in [
        (stage.breakers_open, "breaker open", "breakers open"),
        (
            stage.quarantined,
            "batch in quarantine",
            "batches in quarantine",
        ),
    ] {
        match count {
            0 => {}
            1 => notes.push(format!("1 {one}")),
            count => notes.push(format!("{} {more}", number(count))),
        }
    }
    notes.join(", ")
}

/// `show`.
pub(super) fn details(stage: &StageView, paint: Paint) -> String {
    let mut text = format!("{}\n", paint.bold(&stage.stage));
    let mut field = |name: &str, value: &str| {
        if !value.is_empty() {
            text.push_str(&format!("  {name:<12}{value}\n"));
        }
    };
    field("pipelines", &stage.pipelines.join(", "));
    if stage.held > 0 {
        let held = format!(
            "{} items, {} bytes",
            number(stage.held),
            number(stage.held_bytes)
        );
        field("held", &held);
    }
    field("note", &note(stage));
    let generations = [
        &stage.candidate,
        &Some(stage.running.clone()),
        &stage.previous,
    ];
    for generation in generations.into_iter().flatten() {
        text.push_str(&generation_details(generation, paint));
    }
    text
}

fn generation_details(generation: &GenerationView, paint: Paint) -> String {
    let figures = &generation.figures;
    let mut text = format!(
        "\ngeneration {}, {}\n",
        generation.number,
        paint.status(&generation.status)
    );
    let counts = format!(
        "{} in, {} out, {} dropped",
        number(figures.input),
        number(figures.output),
        number(figures.dropped)
    );
    let calls = format!(
        "{}, {} each, {} faults",
        number(figures.calls),
        micros(figures.call_us),
        number(figures.faults)
    );
    for (name, value) in [
        ("plugin", &plugin(generation)),
        ("module", &generation.module),
        ("sha256", &generation.sha256),
        ("config", &generation.config_sha256),
        ("loaded", &generation.loaded_at),
        ("state", &generation.state),
        ("items", &counts),
        ("calls", &calls),
    ] {
        if !value.is_empty() {
            text.push_str(&format!("  {name:<12}{value}\n"));
        }
    }
    text
}

/// What became of a swap, a rollback, a promotion, a cancellation.
pub(super) fn report(report: &SwapReport, paint: Paint) -> String {
    let outcome = paint.status(&report.outcome);
    let stage = paint.bold(&report.stage);
    // A canary is said with its share.
    let is_beside = ["canary", "shadow"]
        .iter()
        .any(|word| report.outcome.starts_with(word));
    let mut text = match report.outcome.as_str() {
        "unchanged" => format!(
            "{stage}: {outcome}, generation {} has these bytes and this config already\n",
            report.generation
        ),
        _ if is_beside => format!(
            "{stage}: generation {} runs beside generation {}: {outcome}\n",
            report.generation, report.previous
        ),
        "would publish" => format!("{stage}: {outcome} generation {}\n", report.generation),
        _ => format!("{stage}: generation {} {outcome}\n", report.generation),
    };
    let mut field = |name: &str, value: String| {
        text.push_str(&format!("  {name:<9}{value}\n"));
    };
    if !report.sha256.is_empty() {
        field("sha256", digest(&report.sha256));
    }
    if !report.state.is_empty() {
        field("state", report.state.clone());
    }
    if !is_beside && report.previous != 0 && report.previous != report.generation {
        field("before", format!("generation {}", report.previous));
    }
    let took = millis(report.elapsed_ms);
    if report.pause_us > 0 {
        let pause = micros(report.pause_us);
        field("took", format!("{took}, longest pause of a shard {pause}"));
    } else {
        field("took", took);
    }
    if is_beside {
        let stage = &report.stage;
        let next = format!("spandrel plugin promote {stage}, or spandrel plugin cancel {stage}");
        field("next", next);
    }
    text
}

/// What a reload changed.
pub(super) fn reloaded(report: &ReloadReport) -> String {
    let took = millis(report.elapsed_ms);
    if report.changes.is_empty() {
        return format!("nothing has changed, took {took}\n");
    }
    let mut text: String = report
        .changes
        .iter()
        .map(|change| format!("{change}\n"))
        .collect();
    text.push_str(&format!("took {took}\n"));
    text
}
