//! The messages of logs.

use super::attributes::{
    RESOURCE_FIELD, SCOPE_FIELD, VALUE, attributes, dropped_attributes, schema_url, span_id, time,
    trace_id,
};
use super::{Field, Kind, Shape, Usual};
use crate::json::names::SEVERITY;

pub(super) static REQUEST: Shape = Shape::new(
    Usual::Most,
    &[Field::new(
        1,
        "resourceLogs",
        "resource_logs",
        Kind::Message(&RESOURCE_LOGS),
    )
    .list()],
);

static RESOURCE_LOGS: Shape = Shape::new(
    Usual::Most,
    &[
        RESOURCE_FIELD,
        Field::new(2, "scopeLogs", "scope_logs", Kind::Message(&SCOPE_LOGS)).list(),
        schema_url(3),
    ],
);

static SCOPE_LOGS: Shape = Shape::new(
    Usual::Most,
    &[
        SCOPE_FIELD,
        Field::new(2, "logRecords", "log_records", Kind::Message(&RECORD)).list(),
        schema_url(3),
    ],
);

static RECORD: Shape = Shape::new(
    Usual::Middle,
    &[
        time(1),
        Field::new(
            11,
            "observedTimeUnixNano",
            "observed_time_unix_nano",
            Kind::Fixed64,
        ),
        Field::new(2, "severityNumber", "severity_number", Kind::Enum(SEVERITY)),
        Field::new(3, "severityText", "severity_text", Kind::Text),
        Field::word(5, "body", Kind::Message(&VALUE)).explicit(),
        attributes(6),
        dropped_attributes(7),
        Field::word(8, "flags", Kind::Fixed32),
        trace_id(9),
        span_id(10),
        Field::new(12, "eventName", "event_name", Kind::Text),
    ],
);
