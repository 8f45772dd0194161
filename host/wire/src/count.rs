//! Counts items without reading them.

use crate::field::Fields;
use crate::signal::Signal;

/// Returns the number of items of a valid request: spans, data points or log records. Malformed
/// bytes end the count.
pub fn count(signal: Signal, request: &[u8]) -> usize {
    let records = messages(request, 1)
        .flat_map(|resource| messages(resource, 2))
        .flat_map(|scope| messages(scope, 2));
    match signal {
        Signal::Traces | Signal::Logs => records.count(),
        Signal::Metrics => records.map(points).sum(),
    }
}

/// Returns the number of data points of a serialized `Metric`.
pub(crate) fn points(metric: &[u8]) -> usize {
    let mut points = 0;
    let mut data = 0;
    for field in Fields::new(metric) {
        if is_data(field.number) {
            // A metric has data of one kind: a later kind replaces an earlier one, and more of the
            // same kind is merged.
            if data != field.number {
                data = field.number;
                points = 0;
            }
            points += messages(field.bytes(), 1).count();
        }
    }
    points
}

/// Returns true if a field of a serialized `Metric` has its data points.
pub(crate) fn is_data(number: u32) -> bool {
    matches!(number, 5 | 7 | 9 | 10 | 11)
}

/// Returns the contents of the message fields with this number.
pub(crate) fn messages(message: &[u8], number: u32) -> impl Iterator<Item = &[u8]> {
    let mut fields = Fields::new(message);
    core::iter::from_fn(move || fields.message(number))
}
