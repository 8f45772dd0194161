//! The data that the backend accepted.

use std::collections::{BTreeMap, HashMap};

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, Span};
use tokio::time::Instant;

use crate::shop::attribute::find;
use crate::shop::{now, span_id, spans};

/// The amounts that the backend accepted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Calls that it answered, successfully or not.
    pub calls: u64,
    /// Spans, counted each time they came.
    pub spans: u64,
    /// Metrics requests.
    pub metrics: u64,
    /// Logs requests.
    pub logs: u64,
}

/// The data that the backend accepted.
#[derive(Debug, Default)]
pub struct Taken {
    /// The totals.
    pub totals: Totals,
    /// The number of times that each span came, by its id.
    pub spans: HashMap<u64, u32>,
    /// The number of spans by `service.name`, counted each time they came.
    pub services: BTreeMap<String, u64>,
    /// Whole traces requests, if they are kept.
    pub traces: Vec<ResourceSpans>,
    /// Whole metrics requests.
    pub metrics: Vec<ExportMetricsServiceRequest>,
    /// Whole logs requests.
    pub logs: Vec<ExportLogsServiceRequest>,
    /// The time when each call was answered, successfully or not.
    pub answered: Vec<Instant>,
    /// The compression of each call (`grpc-encoding`); empty if there was none.
    pub encodings: Vec<String>,
    /// The time from the start of each span without a parent until it arrived here, in
    /// microseconds.
    pub latencies: Vec<u32>,
    pub(super) keep: bool,
}

impl Taken {
    /// Returns the number of spans that came more than once.
    pub fn duplicates(&self) -> usize {
        self.spans.values().filter(|count| **count > 1).count()
    }

    /// Returns a kept span by its id, with its resource.
    pub fn find(&self, id: u64) -> Option<(Resource, Span)> {
        spans(&self.traces)
            .find(|(_, span)| span_id(span) == id)
            .map(|(resource, span)| (resource.cloned().unwrap_or_default(), span.clone()))
    }

    /// Accepts these spans, except the first `rejected`. Returns the number of spans that it
    /// rejected.
    pub(super) fn take(&mut self, mut resources: Vec<ResourceSpans>, rejected: u64) -> u64 {
        let mut left = rejected;
        for entry in &mut resources {
            for scope in &mut entry.scope_spans {
                scope.spans.retain(|_| {
                    let taken = left == 0;
                    left = left.saturating_sub(1);
                    taken
                });
            }
        }
        let now = now();
        for (resource, span) in spans(&resources) {
            self.totals.spans += 1;
            if span.parent_span_id.is_empty() {
                let took = now.saturating_sub(span.start_time_unix_nano) / 1000;
                self.latencies.push(u32::try_from(took).unwrap_or(u32::MAX));
            }
            *self.spans.entry(span_id(span)).or_default() += 1;
            let name = resource
                .and_then(|resource| find(&resource.attributes, "service.name"))
                .unwrap_or_default();
            match self.services.get_mut(name) {
                Some(count) => *count += 1,
                None => {
                    self.services.insert(name.to_owned(), 1);
                }
            }
        }
        if self.keep {
            self.traces.append(&mut resources);
        }
        rejected - left
    }
}
