//! Attributes, values, resources and scopes: the messages that all signals have.

use super::{Field, Kind, Shape, Usual};

/// Returns the field of attributes with this number.
pub(super) const fn attributes(number: u32) -> Field {
    Field::word(number, "attributes", Kind::Attribute).list()
}

/// Returns the field that counts the attributes that the sender dropped.
pub(super) const fn dropped_attributes(number: u32) -> Field {
    Field::new(
        number,
        "droppedAttributesCount",
        "dropped_attributes_count",
        Kind::Uint32,
    )
}

pub(super) const fn trace_id(number: u32) -> Field {
    Field::new(number, "traceId", "trace_id", Kind::TraceId)
}

pub(super) const fn span_id(number: u32) -> Field {
    Field::new(number, "spanId", "span_id", Kind::SpanId)
}

pub(super) const fn trace_state(number: u32) -> Field {
    Field::new(number, "traceState", "trace_state", Kind::Text)
}

pub(super) const fn time(number: u32) -> Field {
    Field::new(number, "timeUnixNano", "time_unix_nano", Kind::Fixed64)
}

pub(super) const fn start_time(number: u32) -> Field {
    Field::new(
        number,
        "startTimeUnixNano",
        "start_time_unix_nano",
        Kind::Fixed64,
    )
}

pub(super) const fn schema_url(number: u32) -> Field {
    Field::new(number, "schemaUrl", "schema_url", Kind::Text)
}

/// The resource of an entry.
pub(super) const RESOURCE_FIELD: Field =
    Field::word(1, "resource", Kind::Message(&RESOURCE)).explicit();

/// The scope of an entry.
pub(super) const SCOPE_FIELD: Field = Field::word(1, "scope", Kind::Message(&SCOPE)).explicit();

static RESOURCE: Shape = Shape::new(
    Usual::Middle,
    &[
        attributes(1),
        dropped_attributes(2),
        Field::new(3, "entityRefs", "entity_refs", Kind::Message(&ENTITY_REF)).list(),
    ],
);

static ENTITY_REF: Shape = Shape::new(
    Usual::Short,
    &[
        schema_url(1),
        Field::word(2, "type", Kind::Text),
        Field::new(3, "idKeys", "id_keys", Kind::Text).list(),
        Field::new(4, "descriptionKeys", "description_keys", Kind::Text).list(),
    ],
);

static SCOPE: Shape = Shape::new(
    Usual::Short,
    &[
        Field::word(1, "name", Kind::Text),
        Field::word(2, "version", Kind::Text),
        attributes(3),
        dropped_attributes(4),
    ],
);

pub(in crate::json) static KEY_VALUE: Shape = Shape::new(
    Usual::Short,
    &[
        Field::word(1, "key", Kind::Text),
        Field::word(2, "value", Kind::Message(&VALUE)).explicit(),
        Field::new(3, "keyStrindex", "key_strindex", Kind::Int32),
    ],
);

pub(super) static VALUE: Shape = Shape {
    fields: &[
        Field::new(1, "stringValue", "string_value", Kind::Text).choice(),
        Field::new(2, "boolValue", "bool_value", Kind::Bool).choice(),
        Field::new(3, "intValue", "int_value", Kind::Int64).choice(),
        Field::new(4, "doubleValue", "double_value", Kind::Double).choice(),
        Field::new(5, "arrayValue", "array_value", Kind::Message(&ARRAY)).choice(),
        Field::new(6, "kvlistValue", "kvlist_value", Kind::Message(&KEY_VALUES)).choice(),
        Field::new(7, "bytesValue", "bytes_value", Kind::Bytes).choice(),
        Field::new(
            8,
            "stringValueStrindex",
            "string_value_strindex",
            Kind::Int32,
        )
        .choice(),
    ],
    usual: Usual::Short,
    is_level: true,
};

static ARRAY: Shape = Shape::new(
    Usual::Short,
    &[Field::word(1, "values", Kind::Message(&VALUE)).list()],
);

static KEY_VALUES: Shape = Shape::new(
    Usual::Short,
    &[Field::word(1, "values", Kind::Attribute).list()],
);
