//! The report of a shadow.

use spandrel_pipeline::stage::{Comparison, Said};

use crate::report::{DifferenceView, ShadowView};

/// The number of kinds of difference that a shadow's report shows.
const DIFFERENCES: usize = 100;

/// Returns the report of a shadow: the `running` generation and the `shadow` by number, and what
/// the comparison of the two has `seen`.
pub(crate) fn shadow_view(stage: &str, running: u64, shadow: u64, seen: &Comparison) -> ShadowView {
    let mut differences: Vec<_> = seen.differences.iter().collect();
    differences.sort_by(|(a, x), (b, y)| y.count.cmp(&x.count).then_with(|| a.cmp(b)));
    let differences = differences
        .into_iter()
        .take(DIFFERENCES)
        .map(|(kind, seen)| {
            let examples = seen.examples.iter();
            DifferenceView {
                service: kind.service.clone(),
                span: kind.span.clone(),
                running: said(&kind.running),
                shadow: said(&kind.shadow),
                count: seen.count,
                examples: examples
                    .map(|(trace, span)| (hex::encode(trace), hex::encode(span)))
                    .collect(),
            }
        });
    ShadowView {
        stage: stage.to_owned(),
        running,
        shadow,
        compared: seen.compared,
        different: seen.different,
        unsettled: seen.unsettled,
        faults: seen.faults,
        differences: differences.collect(),
    }
}

fn said(said: &Said) -> String {
    match said {
        Said::Keep => "keep".to_owned(),
        Said::KeepEdited => "keep, edited".to_owned(),
        Said::Drop(reason) => format!("drop: {reason}"),
    }
}
