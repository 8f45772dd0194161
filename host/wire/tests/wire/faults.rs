//! Requests of every signal with errors inside some items, and what must be left of them.
//!
//! An error is marked by the key of an attribute, and made in the bytes that prost wrote.

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, ArrayValue, KeyValue};
use opentelemetry_proto::tonic::metrics::v1::Metric;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use prost::Message;
use spandrel_wire::{InvalidUtf8, Signal};

use crate::dice::Dice;
use crate::metrics::metrics;
use crate::requests::{logs, traces};

/// The key of a text that is cut inside a character: whole, and mended.
const CUT: &str = "#CUT#";
const CUT_MENDED: &str = "#CUT\u{fffd}";
/// The key of an attribute that claims to be longer than it is.
const OVERLONG: &str = "#MAL#";
/// The key of an attribute nested deeper than the limit.
const DEEP: &str = "#DEEP#";

/// A request with marks.
#[derive(Clone, Debug)]
pub(crate) enum Marked {
    Traces(ExportTraceServiceRequest),
    Metrics(ExportMetricsServiceRequest),
    Logs(ExportLogsServiceRequest),
}

/// The expected rest of a request: the message, the number of its items, and of those that are
/// removed.
pub(crate) type Left = (Marked, usize, usize);

impl Marked {
    pub(crate) fn new(signal: Signal, dice: &mut Dice) -> Self {
        let mut marks = dice.fork(300);
        let mut marked = match signal {
            Signal::Traces => Self::Traces(traces(dice)),
            Signal::Metrics => Self::Metrics(metrics(dice)),
            Signal::Logs => Self::Logs(logs(dice)),
        };
        if let Self::Traces(request) = &mut marked {
            let scopes = request.resource_spans.iter_mut();
            let scopes = scopes.flat_map(|entry| &mut entry.scope_spans);
            for span in scopes.flat_map(|scope| &mut scope.spans) {
                span.trace_id = vec![7; 16];
                span.span_id = vec![8; 8];
            }
        }
        marked.each(&mut |attributes, odds| {
            if marks.once_in(odds) {
                let mark = [CUT, CUT, OVERLONG, DEEP][marks.roll(4)];
                attributes.push(attribute(mark));
                if marks.once_in(3) {
                    attributes.push(attribute(CUT));
                }
            }
        });
        marked
    }

    /// Calls `mark` with all lists of attributes in which there may be marks, and with their odds:
    /// one in this many gets some.
    fn each(&mut self, mark: &mut dyn FnMut(&mut Vec<KeyValue>, u8)) {
        match self {
            Self::Traces(request) => {
                for entry in &mut request.resource_spans {
                    if let Some(resource) = &mut entry.resource {
                        mark(&mut resource.attributes, 9);
                    }
                    for scope in &mut entry.scope_spans {
                        if let Some(scope) = &mut scope.scope {
                            mark(&mut scope.attributes, 9);
                        }
                        for span in &mut scope.spans {
                            mark(&mut span.attributes, 4);
                            for event in &mut span.events {
                                mark(&mut event.attributes, 6);
                            }
                        }
                    }
                }
            }
            Self::Logs(request) => {
                for entry in &mut request.resource_logs {
                    if let Some(resource) = &mut entry.resource {
                        mark(&mut resource.attributes, 9);
                    }
                    for scope in &mut entry.scope_logs {
                        if let Some(scope) = &mut scope.scope {
                            mark(&mut scope.attributes, 9);
                        }
                        for record in &mut scope.log_records {
                            mark(&mut record.attributes, 4);
                        }
                    }
                }
            }
            Self::Metrics(request) => {
                for entry in &mut request.resource_metrics {
                    if let Some(resource) = &mut entry.resource {
                        mark(&mut resource.attributes, 9);
                    }
                    for scope in &mut entry.scope_metrics {
                        if let Some(scope) = &mut scope.scope {
                            mark(&mut scope.attributes, 9);
                        }
                        for metric in &mut scope.metrics {
                            mark(&mut metric.metadata, 9);
                            for point in points(metric) {
                                mark(point, 4);
                            }
                        }
                    }
                }
            }
        }
    }

    /// Returns the bytes as they are sent, with the errors that the marks stand for.
    pub(crate) fn spoilt(&self) -> Vec<u8> {
        let mut bytes = self.encode();
        let key = |mark: &str| [&[0x0a, 5], mark.as_bytes()].concat();
        let (cut, overlong) = (key(CUT), key(OVERLONG));
        for at in 0..bytes.len() {
            if bytes[at..].starts_with(&cut) {
                bytes[at + 6] = 0xe2;
            } else if bytes[at..].starts_with(&overlong) {
                bytes[at + 1] = 0x7e;
            }
        }
        bytes
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        match self {
            Self::Traces(request) => request.encode_to_vec(),
            Self::Metrics(request) => request.encode_to_vec(),
            Self::Logs(request) => request.encode_to_vec(),
        }
    }

    /// Returns what prost decodes from bytes, as bytes again, because a NaN is not equal to itself.
    pub(crate) fn decoded(&self, bytes: &[u8]) -> Vec<u8> {
        match self {
            Self::Traces(_) => again::<ExportTraceServiceRequest>(bytes),
            Self::Metrics(_) => again::<ExportMetricsServiceRequest>(bytes),
            Self::Logs(_) => again::<ExportLogsServiceRequest>(bytes),
        }
    }

    /// Returns the number of texts that were cut.
    pub(crate) fn cuts(&self) -> usize {
        let mut cuts = 0;
        self.clone().each(&mut |attributes, _| {
            cuts += attributes.iter().filter(|one| one.key == CUT).count();
        });
        cuts
    }

    /// Returns what must be let in.
    pub(crate) fn left(&self, invalid_utf8: InvalidUtf8) -> Left {
        let mut left = self.clone();
        let (mut items, mut refused) = (0, 0);
        let wrong = |attributes: &[KeyValue]| {
            attributes.iter().any(|one| match one.key.as_str() {
                OVERLONG | DEEP => true,
                CUT => invalid_utf8 == InvalidUtf8::Reject,
                _ => false,
            })
        };
        let mut walk = Walk {
            items: &mut items,
            refused: &mut refused,
        };
        match &mut left {
            Self::Traces(request) => walk.list(&mut request.resource_spans, |walk, entry| {
                let resource = entry.resource.as_ref();
                let is_wrong = resource.is_some_and(|resource| wrong(&resource.attributes));
                walk.under(is_wrong, |walk| {
                    walk.list(&mut entry.scope_spans, |walk, scope| {
                        let is_wrong = scope.scope.as_ref();
                        let is_wrong = is_wrong.is_some_and(|scope| wrong(&scope.attributes));
                        walk.under(is_wrong, |walk| {
                            walk.list(&mut scope.spans, |walk, span| {
                                let mut events = span.events.iter();
                                let of_event = events.any(|event| wrong(&event.attributes));
                                walk.item(wrong(&span.attributes) || of_event)
                            });
                        })
                    });
                })
            }),
            Self::Logs(request) => walk.list(&mut request.resource_logs, |walk, entry| {
                let resource = entry.resource.as_ref();
                let is_wrong = resource.is_some_and(|resource| wrong(&resource.attributes));
                walk.under(is_wrong, |walk| {
                    walk.list(&mut entry.scope_logs, |walk, scope| {
                        let is_wrong = scope.scope.as_ref();
                        let is_wrong = is_wrong.is_some_and(|scope| wrong(&scope.attributes));
                        walk.under(is_wrong, |walk| {
                            walk.list(&mut scope.log_records, |walk, record| {
                                walk.item(wrong(&record.attributes))
                            });
                        })
                    });
                })
            }),
            Self::Metrics(request) => walk.list(&mut request.resource_metrics, |walk, entry| {
                let resource = entry.resource.as_ref();
                let is_wrong = resource.is_some_and(|resource| wrong(&resource.attributes));
                walk.under(is_wrong, |walk| {
                    walk.list(&mut entry.scope_metrics, |walk, scope| {
                        let is_wrong = scope.scope.as_ref();
                        let is_wrong = is_wrong.is_some_and(|scope| wrong(&scope.attributes));
                        walk.under(is_wrong, |walk| {
                            walk.list(&mut scope.metrics, |walk, metric| {
                                walk.under(wrong(&metric.metadata), |walk| {
                                    walk.points(metric, &wrong);
                                })
                            });
                        })
                    });
                })
            }),
        }
        left.each(&mut |attributes, _| {
            for cut in attributes.iter_mut().filter(|one| one.key == CUT) {
                CUT_MENDED.clone_into(&mut cut.key);
            }
        });
        (left, items, refused)
    }
}

fn again<M: Message + Default>(bytes: &[u8]) -> Vec<u8> {
    M::decode(bytes).unwrap().encode_to_vec()
}

fn attribute(mark: &str) -> KeyValue {
    let mut value = None;
    if mark == DEEP {
        for _ in 0..40 {
            let values = vec![AnyValue { value }];
            value = Some(Value::ArrayValue(ArrayValue { values }));
        }
    }
    KeyValue {
        key: mark.to_owned(),
        value: value.map(|value| AnyValue { value: Some(value) }),
        ..KeyValue::default()
    }
}

/// Returns the attributes of each data point.
fn points(metric: &mut Metric) -> Vec<&mut Vec<KeyValue>> {
    macro_rules! all {
        ($points:expr) => {
            $points
                .iter_mut()
                .map(|point| &mut point.attributes)
                .collect()
        };
    }
    match &mut metric.data {
        None => Vec::new(),
        Some(Data::Gauge(data)) => all!(data.data_points),
        Some(Data::Sum(data)) => all!(data.data_points),
        Some(Data::Histogram(data)) => all!(data.data_points),
        Some(Data::ExponentialHistogram(data)) => all!(data.data_points),
        Some(Data::Summary(data)) => all!(data.data_points),
    }
}

/// Counts the items that are left, and those that are refused.
struct Walk<'a> {
    items: &'a mut usize,
    refused: &'a mut usize,
}

impl Walk<'_> {
    /// Removes from a list what is not to stay.
    fn list<T>(&mut self, list: &mut Vec<T>, mut stays: impl FnMut(&mut Self, &mut T) -> bool) {
        list.retain_mut(|one| stays(self, one));
    }

    fn item(&mut self, is_wrong: bool) -> bool {
        *if is_wrong {
            &mut *self.refused
        } else {
            &mut *self.items
        } += 1;
        !is_wrong
    }

    /// Returns true if something that has items in it stays: not if it is wrong itself, or has lost
    /// all of them.
    fn under(&mut self, is_wrong: bool, inside: impl FnOnce(&mut Self)) -> bool {
        let before = (*self.items, *self.refused);
        inside(self);
        if is_wrong {
            *self.refused += *self.items - before.0;
            *self.items = before.0;
            return false;
        }
        *self.items > before.0 || *self.refused == before.1
    }

    fn points(&mut self, metric: &mut Metric, wrong: &impl Fn(&[KeyValue]) -> bool) {
        macro_rules! walk {
            ($points:expr) => {
                self.list(&mut $points, |walk, point| {
                    walk.item(wrong(&point.attributes))
                })
            };
        }
        match &mut metric.data {
            None => {}
            Some(Data::Gauge(data)) => walk!(data.data_points),
            Some(Data::Sum(data)) => walk!(data.data_points),
            Some(Data::Histogram(data)) => walk!(data.data_points),
            Some(Data::ExponentialHistogram(data)) => walk!(data.data_points),
            Some(Data::Summary(data)) => walk!(data.data_points),
        }
    }
}
