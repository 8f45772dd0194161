//! The messages of traces.

use super::attributes::{
    RESOURCE_FIELD, SCOPE_FIELD, attributes, dropped_attributes, schema_url, span_id, start_time,
    time, trace_id, trace_state,
};
use super::{Field, Kind, Shape, Usual};
use crate::json::names::{SPAN_KIND, STATUS_CODE};

pub(super) static REQUEST: Shape = Shape::new(
    Usual::Most,
    &[Field::new(
        1,
        "resourceSpans",
        "resource_spans",
        Kind::Message(&RESOURCE_SPANS),
    )
    .list()],
);

static RESOURCE_SPANS: Shape = Shape::new(
    Usual::Most,
    &[
        RESOURCE_FIELD,
        Field::new(2, "scopeSpans", "scope_spans", Kind::Message(&SCOPE_SPANS)).list(),
        schema_url(3),
    ],
);

static SCOPE_SPANS: Shape = Shape::new(
    Usual::Most,
    &[
        SCOPE_FIELD,
        Field::word(2, "spans", Kind::Message(&SPAN)).list(),
        schema_url(3),
    ],
);

static SPAN: Shape = Shape::new(
    Usual::Middle,
    &[
        trace_id(1),
        span_id(2),
        trace_state(3),
        Field::new(4, "parentSpanId", "parent_span_id", Kind::SpanId),
        Field::word(5, "name", Kind::Text),
        Field::word(6, "kind", Kind::Enum(SPAN_KIND)),
        start_time(7),
        Field::new(8, "endTimeUnixNano", "end_time_unix_nano", Kind::Fixed64),
        attributes(9),
        dropped_attributes(10),
        Field::word(11, "events", Kind::Message(&EVENT)).list(),
        Field::new(
            12,
            "droppedEventsCount",
            "dropped_events_count",
            Kind::Uint32,
        ),
        Field::word(13, "links", Kind::Message(&LINK)).list(),
        Field::new(14, "droppedLinksCount", "dropped_links_count", Kind::Uint32),
        Field::word(15, "status", Kind::Message(&STATUS)).explicit(),
        Field::word(16, "flags", Kind::Fixed32),
    ],
);

static EVENT: Shape = Shape::new(
    Usual::Short,
    &[
        time(1),
        Field::word(2, "name", Kind::Text),
        attributes(3),
        dropped_attributes(4),
    ],
);

static LINK: Shape = Shape::new(
    Usual::Short,
    &[
        trace_id(1),
        span_id(2),
        trace_state(3),
        attributes(4),
        dropped_attributes(5),
        Field::word(6, "flags", Kind::Fixed32),
    ],
);

static STATUS: Shape = Shape::new(
    Usual::Short,
    &[
        Field::word(2, "message", Kind::Text),
        Field::word(3, "code", Kind::Enum(STATUS_CODE)),
    ],
);
