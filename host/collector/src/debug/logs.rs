//! Logs as text.

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs};
use spandrel_config::exporter::Verbosity;

use crate::debug::{line, value};

pub(crate) fn render(out: &mut String, request: &ExportLogsServiceRequest, verbosity: Verbosity) {
    let resources = &request.resource_logs;
    let records: usize = resources
        .iter()
        .flat_map(|resource| &resource.scope_logs)
        .map(|scope| scope.log_records.len())
        .sum();
    line(
        out,
        format_args!(
            "Logs resource logs: {}, log records: {records}",
            resources.len()
        ),
    );
    for (index, resource) in resources.iter().enumerate() {
        match verbosity {
            Verbosity::Basic => {}
            Verbosity::Normal => short(out, index, resource),
            Verbosity::Detailed => full(out, index, resource),
        }
    }
}

fn short(out: &mut String, index: usize, resource: &ResourceLogs) {
    value::short_resource(out, "Log", index, resource.resource.as_ref());
    for (index, scope) in resource.scope_logs.iter().enumerate() {
        value::short_scope(out, "Log", index, scope.scope.as_ref());
        for record in &scope.log_records {
            let body = value::plain(record.body.as_ref());
            line(
                out,
                format_args!("{body}{}", value::inline(&record.attributes)),
            );
        }
    }
}

fn full(out: &mut String, index: usize, resource: &ResourceLogs) {
    value::resource(
        out,
        "Logs",
        index,
        resource.resource.as_ref(),
        &resource.schema_url,
    );
    for (index, scope) in resource.scope_logs.iter().enumerate() {
        value::scope(out, "Logs", index, scope.scope.as_ref(), &scope.schema_url);
        for (index, record) in scope.log_records.iter().enumerate() {
            line(out, format_args!("LogRecord #{index}"));
            full_record(out, record);
        }
    }
}

fn full_record(out: &mut String, record: &LogRecord) {
    line(
        out,
        format_args!(
            "ObservedTimestamp: {}",
            value::time(record.observed_time_unix_nano)
        ),
    );
    line(
        out,
        format_args!("Timestamp: {}", value::time(record.time_unix_nano)),
    );
    line(
        out,
        format_args!("SeverityText: {}", record.severity_text.escape_debug()),
    );
    line(
        out,
        format_args!("SeverityNumber: {}", record.severity_number),
    );
    line(
        out,
        format_args!("EventName: {}", record.event_name.escape_debug()),
    );
    line(
        out,
        format_args!("Body: {}", value::typed(record.body.as_ref())),
    );
    value::listed(out, "Attributes", &record.attributes);
    line(
        out,
        format_args!(
            "DroppedAttributesCount: {}",
            record.dropped_attributes_count
        ),
    );
    line(
        out,
        format_args!("Trace ID: {}", hex::encode(&record.trace_id)),
    );
    line(
        out,
        format_args!("Span ID: {}", hex::encode(&record.span_id)),
    );
    line(out, format_args!("Flags: {}", record.flags));
}
