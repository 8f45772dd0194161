//! Notes on a stage that the operator should see at a glance.

use serde_json::Value;
use spandrel_collector::report::{DriftView, StageView};

use super::table::number;

/// The number of characters after which a value in a note is cut. The JSON has the whole value.
const SHOWN: usize = 120;

/// Returns notes on everything out of the ordinary.
pub(super) fn of(stage: &StageView) -> Vec<String> {
    let mut notes = Vec::new();
    if let Some(swap) = &stage.swap {
        notes.push(format!("swap: {swap}"));
    }
    let bypassed = stage.running.figures.bypassed;
    if stage.bypassing || bypassed > 0 {
        notes.push(format!(
            "{} items passed unjudged (on_fault: {})",
            number(bypassed),
            stage.on_fault
        ));
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
    if let Some(undone) = &stage.undone {
        let (number, why) = (undone.generation, &undone.why);
        notes.push(match undone.event.as_str() {
            "cancelled" => format!("generation {number} was cancelled: {why}"),
            _ => format!(
                "rolled back to generation {} from {number}: {why}",
                stage.running.number
            ),
        });
    }
    if stage.expects_drops {
        notes.push("drops are expected".to_owned());
    }
    if !stage.drift.is_empty() {
        notes.push(format!(
            "differs from the configuration: {}",
            parts(&stage.drift)
        ));
    }
    notes
}

/// Returns the parts that differ, each once.
fn parts(drift: &[DriftView]) -> String {
    let mut parts: Vec<&str> = drift.iter().map(|it| it.part.as_str()).collect();
    parts.dedup();
    parts.join(", ")
}

/// Formats one difference, with both sides.
pub(super) fn difference(drift: &DriftView) -> String {
    let DriftView {
        part,
        at,
        running,
        configured,
    } = drift;
    let place = match at.as_str() {
        "" => part.clone(),
        at => format!("{part} {at}"),
    };
    match (running, configured) {
        (None, None) => format!("{place} of an earlier configuration"),
        (Some(one), Some(other)) if one == other => format!("{place} differs, and is not shown"),
        (running, configured) => format!(
            "{place}: {} runs, {} is configured",
            shown(running.as_ref()),
            shown(configured.as_ref())
        ),
    }
}

fn shown(value: Option<&Value>) -> String {
    let text = match value {
        None => "nothing".to_owned(),
        Some(value) => value.to_string(),
    };
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}...", text.get(..end).unwrap_or_default()),
        None => text,
    }
}
