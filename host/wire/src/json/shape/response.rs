//! The answers to requests.

use super::{Field, Kind, Shape, Usual};

const fn response(partial: &'static Shape) -> Field {
    Field::new(
        1,
        "partialSuccess",
        "partial_success",
        Kind::Message(partial),
    )
    .explicit()
}

const MESSAGE: Field = Field::new(2, "errorMessage", "error_message", Kind::Text);

pub(super) static TRACES: Shape = Shape::new(Usual::Short, &[response(&TRACES_PARTIAL)]);
static TRACES_PARTIAL: Shape = Shape::new(
    Usual::Short,
    &[
        Field::new(1, "rejectedSpans", "rejected_spans", Kind::Int64),
        MESSAGE,
    ],
);

pub(super) static METRICS: Shape = Shape::new(Usual::Short, &[response(&METRICS_PARTIAL)]);
static METRICS_PARTIAL: Shape = Shape::new(
    Usual::Short,
    &[
        Field::new(1, "rejectedDataPoints", "rejected_data_points", Kind::Int64),
        MESSAGE,
    ],
);

pub(super) static LOGS: Shape = Shape::new(Usual::Short, &[response(&LOGS_PARTIAL)]);
static LOGS_PARTIAL: Shape = Shape::new(
    Usual::Short,
    &[
        Field::new(1, "rejectedLogRecords", "rejected_log_records", Kind::Int64),
        MESSAGE,
    ],
);
