//! The messages of metrics.

use super::attributes::{
    RESOURCE_FIELD, SCOPE_FIELD, attributes, schema_url, span_id, start_time, time, trace_id,
};
use super::{Field, Kind, Shape, Usual};
use crate::json::names::TEMPORALITY;

pub(super) static REQUEST: Shape = Shape::new(
    Usual::Most,
    &[Field::new(
        1,
        "resourceMetrics",
        "resource_metrics",
        Kind::Message(&RESOURCE_METRICS),
    )
    .list()],
);

static RESOURCE_METRICS: Shape = Shape::new(
    Usual::Most,
    &[
        RESOURCE_FIELD,
        Field::new(
            2,
            "scopeMetrics",
            "scope_metrics",
            Kind::Message(&SCOPE_METRICS),
        )
        .list(),
        schema_url(3),
    ],
);

static SCOPE_METRICS: Shape = Shape::new(
    Usual::Most,
    &[
        SCOPE_FIELD,
        Field::word(2, "metrics", Kind::Message(&METRIC)).list(),
        schema_url(3),
    ],
);

static METRIC: Shape = Shape::new(
    Usual::Middle,
    &[
        Field::word(1, "name", Kind::Text),
        Field::word(2, "description", Kind::Text),
        Field::word(3, "unit", Kind::Text),
        Field::word(5, "gauge", Kind::Message(&GAUGE)).choice(),
        Field::word(7, "sum", Kind::Message(&SUM)).choice(),
        Field::word(9, "histogram", Kind::Message(&HISTOGRAM)).choice(),
        Field::new(
            10,
            "exponentialHistogram",
            "exponential_histogram",
            Kind::Message(&EXPONENTIAL_HISTOGRAM),
        )
        .choice(),
        Field::word(11, "summary", Kind::Message(&SUMMARY)).choice(),
        Field::word(12, "metadata", Kind::Attribute).list(),
    ],
);

const fn points(shape: &'static Shape) -> Field {
    Field::new(1, "dataPoints", "data_points", Kind::Message(shape)).list()
}

const fn temporality(number: u32) -> Field {
    Field::new(
        number,
        "aggregationTemporality",
        "aggregation_temporality",
        Kind::Enum(TEMPORALITY),
    )
}

const fn flags(number: u32) -> Field {
    Field::word(number, "flags", Kind::Uint32)
}

const fn count(number: u32) -> Field {
    Field::word(number, "count", Kind::Fixed64)
}

const fn exemplars(number: u32) -> Field {
    Field::word(number, "exemplars", Kind::Message(&EXEMPLAR)).list()
}

const fn double(number: u32, name: &'static str) -> Field {
    Field::word(number, name, Kind::Double)
}

const fn as_double(number: u32) -> Field {
    Field::new(number, "asDouble", "as_double", Kind::Double).choice()
}

const fn as_int(number: u32) -> Field {
    Field::new(number, "asInt", "as_int", Kind::Sfixed64).choice()
}

static GAUGE: Shape = Shape::new(Usual::Middle, &[points(&NUMBER)]);

static SUM: Shape = Shape::new(
    Usual::Middle,
    &[
        points(&NUMBER),
        temporality(2),
        Field::new(3, "isMonotonic", "is_monotonic", Kind::Bool),
    ],
);

static HISTOGRAM: Shape = Shape::new(Usual::Middle, &[points(&HISTOGRAM_POINT), temporality(2)]);

static EXPONENTIAL_HISTOGRAM: Shape =
    Shape::new(Usual::Middle, &[points(&EXPONENTIAL_POINT), temporality(2)]);

static SUMMARY: Shape = Shape::new(Usual::Middle, &[points(&SUMMARY_POINT)]);

static NUMBER: Shape = Shape::new(
    Usual::Middle,
    &[
        attributes(7),
        start_time(2),
        time(3),
        as_double(4),
        as_int(6),
        exemplars(5),
        flags(8),
    ],
);

static HISTOGRAM_POINT: Shape = Shape::new(
    Usual::Middle,
    &[
        attributes(9),
        start_time(2),
        time(3),
        count(4),
        double(5, "sum").explicit(),
        Field::new(6, "bucketCounts", "bucket_counts", Kind::Fixed64).list(),
        Field::new(7, "explicitBounds", "explicit_bounds", Kind::Double).list(),
        exemplars(8),
        flags(10),
        double(11, "min").explicit(),
        double(12, "max").explicit(),
    ],
);

static EXPONENTIAL_POINT: Shape = Shape::new(
    Usual::Middle,
    &[
        attributes(1),
        start_time(2),
        time(3),
        count(4),
        double(5, "sum").explicit(),
        Field::word(6, "scale", Kind::Sint32),
        Field::new(7, "zeroCount", "zero_count", Kind::Fixed64),
        Field::word(8, "positive", Kind::Message(&BUCKETS)).explicit(),
        Field::word(9, "negative", Kind::Message(&BUCKETS)).explicit(),
        flags(10),
        exemplars(11),
        double(12, "min").explicit(),
        double(13, "max").explicit(),
        Field::new(14, "zeroThreshold", "zero_threshold", Kind::Double),
    ],
);

static BUCKETS: Shape = Shape::new(
    Usual::Short,
    &[
        Field::word(1, "offset", Kind::Sint32),
        Field::new(2, "bucketCounts", "bucket_counts", Kind::Uint64).list(),
    ],
);

static SUMMARY_POINT: Shape = Shape::new(
    Usual::Middle,
    &[
        attributes(7),
        start_time(2),
        time(3),
        count(4),
        double(5, "sum"),
        Field::new(
            6,
            "quantileValues",
            "quantile_values",
            Kind::Message(&QUANTILE),
        )
        .list(),
        flags(8),
    ],
);

static QUANTILE: Shape = Shape::new(Usual::Short, &[double(1, "quantile"), double(2, "value")]);

static EXEMPLAR: Shape = Shape::new(
    Usual::Short,
    &[
        Field::new(
            7,
            "filteredAttributes",
            "filtered_attributes",
            Kind::Attribute,
        )
        .list(),
        time(2),
        as_double(3),
        as_int(6),
        span_id(4),
        trace_id(5),
    ],
);
