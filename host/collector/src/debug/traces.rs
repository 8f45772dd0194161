//! Traces as text.

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::trace::v1::{
    ResourceSpans, Span, span::SpanKind, status::StatusCode,
};
use spandrel_config::exporter::Verbosity;

use crate::debug::{line, value};

pub(crate) fn render(out: &mut String, request: &ExportTraceServiceRequest, verbosity: Verbosity) {
    let resources = &request.resource_spans;
    let spans: usize = resources
        .iter()
        .flat_map(|resource| &resource.scope_spans)
        .map(|scope| scope.spans.len())
        .sum();
    line(
        out,
        format_args!("Traces resource spans: {}, spans: {spans}", resources.len()),
    );
    for (index, resource) in resources.iter().enumerate() {
        match verbosity {
            Verbosity::Basic => {}
            Verbosity::Normal => short(out, index, resource),
            Verbosity::Detailed => full(out, index, resource),
        }
    }
}

fn short(out: &mut String, index: usize, resource: &ResourceSpans) {
    value::short_resource(out, "Traces", index, resource.resource.as_ref());
    for (index, scope) in resource.scope_spans.iter().enumerate() {
        value::short_scope(out, "Traces", index, scope.scope.as_ref());
        for span in &scope.spans {
            let ids = format!(
                "{} {}",
                hex::encode(&span.trace_id),
                hex::encode(&span.span_id)
            );
            let attributes = value::inline(&span.attributes);
            line(
                out,
                format_args!("{} {ids}{attributes}", span.name.escape_debug()),
            );
        }
    }
}

fn full(out: &mut String, index: usize, resource: &ResourceSpans) {
    value::resource(
        out,
        "Spans",
        index,
        resource.resource.as_ref(),
        &resource.schema_url,
    );
    for (index, scope) in resource.scope_spans.iter().enumerate() {
        value::scope(out, "Spans", index, scope.scope.as_ref(), &scope.schema_url);
        for (index, span) in scope.spans.iter().enumerate() {
            line(out, format_args!("Span #{index}"));
            full_span(out, span);
        }
    }
}

fn full_span(out: &mut String, span: &Span) {
    let status = span.status.as_ref();
    let code = status.map_or(
        StatusCode::Unset,
        opentelemetry_proto::tonic::trace::v1::Status::code,
    );
    let message = status.map_or("", |status| &status.message);
    let fields: [(&str, String); 12] = [
        ("Trace ID", hex::encode(&span.trace_id)),
        ("Parent ID", hex::encode(&span.parent_span_id)),
        ("ID", hex::encode(&span.span_id)),
        ("Name", span.name.escape_debug().to_string()),
        ("Kind", kind(span.kind()).to_owned()),
        ("Start time", value::time(span.start_time_unix_nano)),
        ("End time", value::time(span.end_time_unix_nano)),
        ("Status code", status_code(code).to_owned()),
        ("Status message", message.escape_debug().to_string()),
        ("Trace state", span.trace_state.escape_debug().to_string()),
        ("Flags", span.flags.to_string()),
        (
            "Dropped",
            format!(
                "attributes {}, events {}, links {}",
                span.dropped_attributes_count, span.dropped_events_count, span.dropped_links_count
            ),
        ),
    ];
    for (name, text) in fields {
        line(out, format_args!("    {name:<15}: {text}"));
    }
    value::listed(out, "Attributes", &span.attributes);
    events_and_links(out, span);
}

fn events_and_links(out: &mut String, span: &Span) {
    for (index, event) in span.events.iter().enumerate() {
        line(out, format_args!("SpanEvent #{index}"));
        line(
            out,
            format_args!("     -> Name: {}", event.name.escape_debug()),
        );
        line(
            out,
            format_args!("     -> Timestamp: {}", value::time(event.time_unix_nano)),
        );
        line(
            out,
            format_args!(
                "     -> DroppedAttributesCount: {}",
                event.dropped_attributes_count
            ),
        );
        value::listed(out, "     -> Attributes", &event.attributes);
    }
    for (index, link) in span.links.iter().enumerate() {
        line(out, format_args!("SpanLink #{index}"));
        line(
            out,
            format_args!("     -> Trace ID: {}", hex::encode(&link.trace_id)),
        );
        line(
            out,
            format_args!("     -> ID: {}", hex::encode(&link.span_id)),
        );
        line(
            out,
            format_args!("     -> TraceState: {}", link.trace_state.escape_debug()),
        );
        line(out, format_args!("     -> Flags: {}", link.flags));
        line(
            out,
            format_args!(
                "     -> DroppedAttributesCount: {}",
                link.dropped_attributes_count
            ),
        );
        value::listed(out, "     -> Attributes", &link.attributes);
    }
}

fn kind(kind: SpanKind) -> &'static str {
    match kind {
        SpanKind::Unspecified => "Unspecified",
        SpanKind::Internal => "Internal",
        SpanKind::Server => "Server",
        SpanKind::Client => "Client",
        SpanKind::Producer => "Producer",
        SpanKind::Consumer => "Consumer",
    }
}

fn status_code(code: StatusCode) -> &'static str {
    match code {
        StatusCode::Unset => "Unset",
        StatusCode::Ok => "Ok",
        StatusCode::Error => "Error",
    }
}
