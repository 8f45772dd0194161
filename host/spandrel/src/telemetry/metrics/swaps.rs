//! Metrics of generations and swaps, by stage.

use spandrel_collector::status::{PipelineStatus, Status};
use spandrel_pipeline::ledger::Books;

use super::text::Text;

pub(super) fn render(text: &mut Text, status: &Status, books: &[(&PipelineStatus, Books)]) {
    for stage in status.stages() {
        let labels = [("stage", stage.stage.as_str())];
        text.gauge("spandrel_stage_generation", &labels, stage.running.number);
        let bypassing = u8::from(stage.bypassing);
        text.gauge("spandrel_stage_bypassing", &labels, bypassing);
        if let Some(candidate) = &stage.candidate {
            let labels = [labels[0], ("mode", candidate.status.as_str())];
            text.gauge("spandrel_stage_candidate", &labels, candidate.number);
        }
        if let Some(shadow) = status.shadow(&stage.stage) {
            for (what, items) in [
                ("compared", shadow.compared),
                ("different", shadow.different),
                ("unsettled", shadow.unsettled),
            ] {
                let name = format!("spandrel_stage_shadow_{what}_items");
                text.gauge(&name, &labels, items);
            }
        }
    }
    for (stage, outcome, count) in status.swaps() {
        let labels = [("stage", stage.as_str()), ("outcome", outcome)];
        text.counter("spandrel_stage_swaps_total", &labels, count);
    }
    for (stage, durations) in status.swap_durations() {
        let labels = [("stage", stage.as_str())];
        text.summary(
            "spandrel_stage_swap_duration_seconds",
            &labels,
            durations.seconds,
            durations.swaps,
        );
        text.gauge(
            "spandrel_stage_swap_longest_pause_seconds",
            &labels,
            durations.longest_pause_seconds,
        );
    }
    for (pipeline, books) in books {
        for stage in &books.stages {
            for generation in &stage.generations {
                let number = generation.number.to_string();
                let labels = [
                    ("pipeline", pipeline.ledger.pipeline()),
                    ("stage", stage.name.as_str()),
                    ("generation", number.as_str()),
                ];
                let name = |what| format!("spandrel_generation_{what}_total");
                text.counter(&name("in_items"), &labels, generation.input);
                text.counter(&name("out_items"), &labels, generation.output);
                text.counter(&name("dropped_items"), &labels, generation.dropped);
                let bypassed = generation.bypass.items();
                text.counter(&name("bypassed_items"), &labels, bypassed);
                text.counter(&name("calls"), &labels, generation.calls);
                text.counter(&name("faults"), &labels, generation.faults);
                text.counter(
                    &name("call_seconds"),
                    &labels,
                    generation.call_time.as_secs_f64(),
                );
            }
        }
    }
}
