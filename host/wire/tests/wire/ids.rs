//! Finds the spans with invalid ids in what prost decodes, and makes requests that have such spans.

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use prost::Message;

use crate::dice::Dice;

/// A request with its spans as they are serialized.
#[derive(Clone, PartialEq, Message)]
struct Request {
    #[prost(message, repeated, tag = "1")]
    resources: Vec<ResourceEntry>,
}

#[derive(Clone, PartialEq, Message)]
struct ResourceEntry {
    #[prost(message, repeated, tag = "2")]
    scopes: Vec<ScopeEntry>,
}

#[derive(Clone, PartialEq, Message)]
struct ScopeEntry {
    #[prost(bytes = "vec", repeated, tag = "2")]
    spans: Vec<Vec<u8>>,
}

/// The ids of a span, each as often as it stands there.
#[derive(Clone, PartialEq, Message)]
struct Span {
    #[prost(bytes = "vec", repeated, tag = "1")]
    trace: Vec<Vec<u8>>,
    #[prost(bytes = "vec", repeated, tag = "2")]
    own: Vec<Vec<u8>>,
    #[prost(bytes = "vec", repeated, tag = "4")]
    parent: Vec<Vec<u8>>,
    #[prost(message, repeated, tag = "13")]
    links: Vec<Link>,
}

#[derive(Clone, PartialEq, Message)]
struct Link {
    #[prost(bytes = "vec", repeated, tag = "1")]
    trace: Vec<Vec<u8>>,
    #[prost(bytes = "vec", repeated, tag = "2")]
    span: Vec<Vec<u8>>,
}

/// Returns the spans of a request as they are serialized, in order.
pub(crate) fn raw_spans(request: &[u8]) -> Vec<Vec<u8>> {
    let entries = Request::decode(request).unwrap().resources.into_iter();
    let scopes = entries.flat_map(|entry| entry.scopes);
    scopes.flat_map(|scope| scope.spans).collect()
}

/// Returns true if any id in a span has a wrong length.
pub(crate) fn has_wrong_length(span: &[u8]) -> bool {
    let span = Span::decode(span).unwrap();
    let wrong = |ids: &[Vec<u8>], len| ids.iter().any(|id| !id.is_empty() && id.len() != len);
    let link = |link: &Link| wrong(&link.trace, 16) || wrong(&link.span, 8);
    wrong(&span.trace, 16)
        || wrong(&span.own, 8)
        || wrong(&span.parent, 8)
        || span.links.iter().any(link)
}

/// Returns true if the ids of a span are as OTLP requires.
pub(crate) fn are_valid(span: &[u8]) -> bool {
    let ids = Span::decode(span).unwrap();
    let says = |id: Option<&Vec<u8>>| id.is_some_and(|id| id.iter().any(|byte| *byte != 0));
    says(ids.trace.last()) && says(ids.own.last()) && !has_wrong_length(span)
}

/// Makes some ids in a request invalid, and changes some that are then still valid.
pub(crate) fn spoil(dice: &mut Dice, request: &mut ExportTraceServiceRequest) {
    let scopes = request
        .resource_spans
        .iter_mut()
        .flat_map(|entry| &mut entry.scope_spans);
    for span in scopes.flat_map(|scope| &mut scope.spans) {
        let links = span.links.iter_mut();
        let linked = links.flat_map(|link| [&mut link.trace_id, &mut link.span_id]);
        let own = [
            &mut span.trace_id,
            &mut span.span_id,
            &mut span.parent_span_id,
        ];
        for id in own.into_iter().chain(linked) {
            match dice.roll(24) {
                20 => id.fill(0),
                21 => id.clear(),
                22 => *id = dice.bytes(40),
                23 => drop(id.pop()),
                _ => {}
            }
        }
    }
}
