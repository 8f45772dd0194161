//! Reads everything in bytes that need not be valid.

use spandrel_wire::{Attributes, Traces, Value};

/// Reads every view of the bytes.
pub(crate) fn read_all(bytes: &[u8]) {
    let traces = Traces::new(bytes);
    for placed in traces.spans() {
        let span = placed.span;
        let name = span.name();
        assert!(name.len() <= bytes.len());
        let _ = (span.kind(), span.duration(), span.status(), span.is_root());
        walk(span.attributes(), 0);
        walk(placed.resource_spans.resource().attributes(), 0);
        walk(placed.scope_spans.scope().attributes(), 0);
        for event in span.events() {
            walk(event.attributes(), 0);
        }
        for link in span.links() {
            walk(link.attributes(), 0);
        }
    }
}

fn walk(attributes: Attributes<'_>, depth: u32) {
    for attribute in attributes {
        if let (Value::KeyValues(list), 0..10) = (attribute.value, depth) {
            walk(list, depth + 1);
        }
    }
}
