//! Formats stages, their generations and the outcomes of changes for people.

use spandrel_collector::report::{
    GenerationView, PipelineView, ReloadReport, StageView, SwapReport,
};

use super::notes;
use super::paint::Paint;
use super::table::{Column, digest, micros, millis, number, table};

/// Sorts stages by the order in which a batch passes them.
pub(super) fn sort(stages: &mut [StageView], pipelines: &[PipelineView]) {
    let order: Vec<&str> = pipelines
        .iter()
        .flat_map(|pipeline| pipeline.stages.iter().map(String::as_str))
        .collect();
    // Stages of no pipeline come last.
    stages.sort_by_key(|stage| {
        let place = order.iter().position(|name| *name == stage.stage);
        place.unwrap_or(usize::MAX)
    });
}

/// Formats the output of `ls`: a row for each generation that gets batches.
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
        match stage.bypassing && generation.status == "running" {
            true => "bypassed".to_owned(),
            false => generation.status.clone(),
        },
        plugin(generation),
        digest(&generation.sha256),
        number(figures.input),
        number(figures.output),
        number(figures.dropped),
        of_stage(number(stage.held)),
        number(figures.faults),
        of_stage(stage.pipelines.join(", ")),
        of_stage(notes::of(stage).join(", ")),
    ]
}

fn plugin(generation: &GenerationView) -> String {
    let GenerationView {
        plugin, version, ..
    } = generation;
    format!("{plugin} {version}").trim().to_owned()
}

/// Formats the output of `show`.
pub(super) fn details(stage: &StageView, paint: Paint) -> String {
    let mut text = format!("{}\n", paint.bold(&stage.stage));
    let mut field = |name: &str, value: &str| {
        if !value.is_empty() {
            text.push_str(&format!("  {name:<15}{value}\n"));
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
    for (reason, items) in &stage.dropped {
        field("dropped", &format!("{} {reason}", number(*items)));
    }
    if stage.retried > 0 {
        let retried = format!("{} items after a fault", number(stage.retried));
        field("retried", &retried);
    }
    field("on_fault", &stage.on_fault);
    for note in notes::of(stage) {
        field("note", &note);
    }
    for difference in &stage.drift {
        field("drift", &notes::difference(difference));
    }
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
    let config = match &generation.config {
        serde_json::Value::Null => String::new(),
        config => config.to_string(),
    };
    let calls = match figures.bypassed {
        0 => calls,
        items => format!("{calls}, {} items passed unjudged", number(items)),
    };
    for (name, value) in [
        ("plugin", &plugin(generation)),
        ("module", &generation.module),
        ("sha256", &generation.sha256),
        ("config", &config),
        ("config_sha256", &generation.config_sha256),
        ("loaded", &generation.loaded_at),
        ("state", &generation.state),
        ("items", &counts),
        ("calls", &calls),
    ] {
        if !value.is_empty() {
            text.push_str(&format!("  {name:<15}{value}\n"));
        }
    }
    text
}

/// Formats the outcome of a swap, a rollback, a promotion, a cancellation.
pub(super) fn report(report: &SwapReport, paint: Paint) -> String {
    let outcome = paint.status(&report.outcome);
    let stage = paint.bold(&report.stage);
    // The outcome of a canary includes its share.
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
        "rolled back" => {
            format!("{stage}: {outcome} to generation {}\n", report.generation)
        }
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

/// Formats the output of `ls --drops`: a row for each reason.
pub(super) fn drops(stages: &[StageView], paint: Paint) -> String {
    let columns = [
        Column::Left("STAGE"),
        Column::Left("REASON"),
        Column::Right("DROPPED"),
    ];
    let rows: Vec<Vec<String>> = stages
        .iter()
        .flat_map(|stage| {
            let reasons = stage.dropped.iter();
            reasons.map(|(reason, items)| vec![stage.stage.clone(), reason.clone(), number(*items)])
        })
        .collect();
    match rows.as_slice() {
        [] => "nothing was dropped\n".to_owned(),
        rows => table(&columns, rows, paint),
    }
}

/// Formats what a reload changed, and what it left different.
pub(super) fn reloaded(report: &ReloadReport) -> String {
    let took = millis(report.elapsed_ms);
    if report.changes.is_empty() && report.left.is_empty() {
        return format!("nothing has changed, took {took}\n");
    }
    let mut text: String = report
        .changes
        .iter()
        .map(|change| format!("{change}\n"))
        .collect();
    if report.changes.is_empty() {
        text.push_str("the configuration has not changed\n");
    }
    for left in &report.left {
        let stage = &left.stage;
        text.push_str(&format!(
            "stage {stage} runs something else, left as it is\n"
        ));
        for difference in &left.drift {
            text.push_str(&format!("  {}\n", notes::difference(difference)));
        }
        text.push_str(&format!(
            "  to take over what is configured: spandrel plugin swap {stage} --as-configured\n"
        ));
    }
    text.push_str(&format!("took {took}\n"));
    text
}
