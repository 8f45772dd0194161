//! The meaning of a splice, written for decoded objects.

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use prost::Message;
use spandrel_wire::Operation;

/// An edit as a plugin means it.
#[derive(Clone, Debug)]
pub(crate) struct Change {
    pub(crate) operation: Operation,
    pub(crate) index: u32,
    /// The snippet; empty for a kind.
    pub(crate) snippet: Vec<u8>,
    pub(crate) kind: u32,
}

/// A span on its own, with its resource and scope.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Flat {
    pub(crate) resource: Option<Resource>,
    pub(crate) resource_schema: String,
    pub(crate) scope: Option<InstrumentationScope>,
    pub(crate) scope_schema: String,
    pub(crate) span: Span,
}

/// Returns the spans of a request, each on its own.
pub(crate) fn flat(request: &ExportTraceServiceRequest) -> Vec<Flat> {
    let mut spans = Vec::new();
    for resource in &request.resource_spans {
        for scope in &resource.scope_spans {
            spans.extend(scope.spans.iter().map(|span| Flat {
                resource: resource.resource.clone(),
                resource_schema: resource.schema_url.clone(),
                scope: scope.scope.clone(),
                scope_schema: scope.schema_url.clone(),
                span: span.clone(),
            }));
        }
    }
    spans
}

/// Applies all changes; drops nothing.
pub(crate) fn edited(
    mut request: ExportTraceServiceRequest,
    changes: &[Change],
) -> ExportTraceServiceRequest {
    let (mut item, mut scope_index) = (0, 0);
    for (number, entry) in (0..).zip(&mut request.resource_spans) {
        for change in of(changes, &RESOURCE, number) {
            let resource = entry.resource.get_or_insert_default();
            edit_attributes(&mut resource.attributes, change);
        }
        for entry in &mut entry.scope_spans {
            for change in of(changes, &SCOPE, scope_index) {
                let scope = entry.scope.get_or_insert_default();
                edit_attributes(&mut scope.attributes, change);
            }
            scope_index += 1;
            for span in &mut entry.spans {
                for change in of(changes, &ITEM, item) {
                    edit_span(span, change);
                }
                item += 1;
            }
        }
    }
    request
}

/// Returns the request that is kept, without entries that lost their last span.
pub(crate) fn kept(
    request: ExportTraceServiceRequest,
    verdicts: &[u8],
) -> ExportTraceServiceRequest {
    let mut item = 0;
    let mut keep = |spans: Vec<Span>| -> Vec<Span> {
        spans
            .into_iter()
            .filter(|_| {
                item += 1;
                verdicts.get(item - 1).is_none_or(|verdict| *verdict == 0)
            })
            .collect()
    };
    let mut kept = ExportTraceServiceRequest::default();
    for resource in request.resource_spans {
        let before: usize = resource
            .scope_spans
            .iter()
            .map(|scope| scope.spans.len())
            .sum();
        let mut after = 0;
        let mut scopes = Vec::new();
        for scope in resource.scope_spans {
            let came = scope.spans.len();
            let spans = keep(scope.spans);
            after += spans.len();
            if !spans.is_empty() || came == 0 {
                scopes.push(ScopeSpans { spans, ..scope });
            }
        }
        if after > 0 || before == 0 {
            kept.resource_spans.push(ResourceSpans {
                scope_spans: scopes,
                ..resource
            });
        }
    }
    kept
}

pub(crate) fn edit_span(span: &mut Span, change: &Change) {
    use Operation as Op;
    match change.operation {
        Op::UpsertAttribute | Op::DeleteAttribute => edit_attributes(&mut span.attributes, change),
        Op::SetName => span.name = String::from_utf8(change.snippet.clone()).unwrap(),
        Op::SetKind => span.kind = i32::try_from(change.kind).unwrap(),
        Op::SetStatus => span.status = Some(Message::decode(&change.snippet[..]).unwrap()),
        Op::Replace => *span = Span::decode(&change.snippet[..]).unwrap(),
        other => panic!("{other:?} is not of a span"),
    }
}

const ITEM: [Operation; 6] = [
    Operation::UpsertAttribute,
    Operation::DeleteAttribute,
    Operation::SetName,
    Operation::SetKind,
    Operation::SetStatus,
    Operation::Replace,
];
const RESOURCE: [Operation; 2] = [
    Operation::UpsertResourceAttribute,
    Operation::DeleteResourceAttribute,
];
const SCOPE: [Operation; 2] = [
    Operation::UpsertScopeAttribute,
    Operation::DeleteScopeAttribute,
];

fn of<'a>(
    changes: &'a [Change],
    operations: &'a [Operation],
    index: u32,
) -> impl Iterator<Item = &'a Change> {
    changes
        .iter()
        .filter(move |change| operations.contains(&change.operation) && change.index == index)
}

fn edit_attributes(attributes: &mut Vec<KeyValue>, change: &Change) {
    let deletes = matches!(
        change.operation,
        Operation::DeleteAttribute
            | Operation::DeleteResourceAttribute
            | Operation::DeleteScopeAttribute
    );
    if deletes {
        attributes.retain(|attribute| attribute.key.as_bytes() != change.snippet);
        return;
    }
    let new = KeyValue::decode(&change.snippet[..]).unwrap();
    let first = attributes
        .iter()
        .position(|attribute| attribute.key == new.key);
    let mut place = 0..;
    attributes.retain(|attribute| place.next() == first || attribute.key != new.key);
    match first {
        Some(first) => attributes[first] = new,
        None => attributes.push(new),
    }
}
