//! The content of items: a shop's services, with the attributes that instrumentations set.

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::metrics::v1::{
    Gauge, Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, Sum, metric, number_data_point,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status};
use prost::Message;
use spandrel_wire::Signal;

use super::Role;
use crate::settings::Load;

/// The duration that each span states, in nanoseconds.
pub(crate) const DURATION_NS: u64 = 12_345_678;

/// The number of items for each resource of a request, so that small batches are of few services.
const ITEMS_PER_RESOURCE: usize = 16;
/// The number of data points in one metric.
const POINTS_PER_METRIC: usize = 16;

const SERVICES: [&str; 10] = [
    "checkout",
    "cart",
    "payment",
    "shipping",
    "catalog",
    "search",
    "frontend",
    "accounts",
    "recommend",
    "currency",
];
const ROUTES: [&str; 5] = [
    "/api/v1/orders/{order_id}",
    "/api/v1/carts/{cart_id}/items",
    "/api/v1/products",
    "/api/v1/products/{product_id}/reviews",
    "/api/v1/payments",
];
/// The route by which a health check is recognized.
const HEALTH_CHECK: &str = "/healthz";

/// One request, encoded.
pub(super) struct Request {
    pub(super) message: Vec<u8>,
    /// The length of the same message without the items of health checks.
    pub(super) kept: usize,
}

/// Makes the `index`th request of a load.
pub(super) fn request(load: &Load, index: usize, roles: &[Role]) -> Request {
    let mut items = Items {
        load,
        index,
        fill: 0,
        has_health_checks: true,
    };
    // The fill is derived from the size of an average item, so that items have the wanted size on
    // average.
    let per_item = items.encoded(roles).len() / roles.len().max(1);
    // The lengths of the text and of the messages around it grow from one byte to two.
    items.fill = load.size.saturating_sub(per_item + 4);
    let message = items.encoded(roles);
    items.has_health_checks = false;
    let kept = items.encoded(roles).len();
    Request { message, kept }
}

/// Returns the bytes that the attributes of an item take by themselves: no item can be smaller.
pub(crate) fn least_size(load: &Load) -> usize {
    let items = Items {
        load,
        index: 0,
        fill: 0,
        has_health_checks: true,
    };
    // A tag and a length stand before each attribute.
    let attributes = items.attributes(0, HEALTH_CHECK);
    attributes.iter().map(|a| 2 + a.encoded_len()).sum()
}

const FILL_KEY: &str = "http.user_agent";

struct Items<'a> {
    load: &'a Load,
    index: usize,
    /// The number of bytes of text that bring an item to its size.
    fill: usize,
    has_health_checks: bool,
}

impl Items<'_> {
    fn has(&self, role: Role) -> bool {
        self.has_health_checks || role != Role::HealthCheck
    }

    fn encoded(&self, roles: &[Role]) -> Vec<u8> {
        let services = self
            .load
            .services
            .min(roles.len().div_ceil(ITEMS_PER_RESOURCE))
            .max(1);
        let per_resource = roles.len().div_ceil(services).max(1);
        let resources = roles.chunks(per_resource).enumerate().map(|(nth, roles)| {
            let service = (self.index * services + nth) % self.load.services.max(1);
            (service, nth * per_resource, roles)
        });
        match self.load.signal {
            Signal::Traces => ExportTraceServiceRequest {
                resource_spans: resources
                    .map(|(s, at, roles)| self.spans(s, at, roles))
                    .collect(),
            }
            .encode_to_vec(),
            Signal::Metrics => ExportMetricsServiceRequest {
                resource_metrics: resources
                    .map(|(s, at, roles)| self.metrics(s, at, roles))
                    .collect(),
            }
            .encode_to_vec(),
            Signal::Logs => ExportLogsServiceRequest {
                resource_logs: resources
                    .map(|(s, at, roles)| self.logs(s, at, roles))
                    .collect(),
            }
            .encode_to_vec(),
        }
    }

    fn spans(&self, service: usize, first: usize, roles: &[Role]) -> ResourceSpans {
        let span = |(position, role): (usize, &Role)| {
            let route = route(position, *role);
            Span {
                trace_id: vec![1; 16],
                span_id: vec![1; 8],
                parent_span_id: if position.is_multiple_of(8) {
                    vec![]
                } else {
                    vec![2; 8]
                },
                name: format!("GET {route}"),
                kind: 2,
                start_time_unix_nano: 1,
                end_time_unix_nano: 1,
                attributes: self.attributes(position, route),
                status: Some(Status {
                    message: String::new(),
                    code: i32::from(position.is_multiple_of(50)) * 2,
                }),
                ..Span::default()
            }
        };
        ResourceSpans {
            resource: Some(resource(service)),
            scope_spans: vec![ScopeSpans {
                scope: Some(scope()),
                spans: (first..)
                    .zip(roles)
                    .filter(|(_, role)| self.has(**role))
                    .map(span)
                    .collect(),
                schema_url: String::new(),
            }],
            schema_url: SCHEMA.to_owned(),
        }
    }

    fn logs(&self, service: usize, first: usize, roles: &[Role]) -> ResourceLogs {
        let record = |(position, role): (usize, &Role)| {
            let route = route(position, *role);
            LogRecord {
                time_unix_nano: 1,
                observed_time_unix_nano: 1,
                severity_number: 9,
                severity_text: "INFO".to_owned(),
                body: Some(AnyValue {
                    value: Some(Value::StringValue(format!(
                        "request to {route} was answered with 200"
                    ))),
                }),
                attributes: self.attributes(position, route),
                flags: 1,
                trace_id: vec![1; 16],
                span_id: vec![1; 8],
                ..LogRecord::default()
            }
        };
        ResourceLogs {
            resource: Some(resource(service)),
            scope_logs: vec![ScopeLogs {
                scope: Some(scope()),
                log_records: (first..)
                    .zip(roles)
                    .filter(|(_, role)| self.has(**role))
                    .map(record)
                    .collect(),
                schema_url: String::new(),
            }],
            schema_url: SCHEMA.to_owned(),
        }
    }

    fn metrics(&self, service: usize, first: usize, roles: &[Role]) -> ResourceMetrics {
        let metric = |(nth, roles): (usize, &[Role])| {
            let points = (first + nth * POINTS_PER_METRIC..).zip(roles);
            let data_points = points
                .filter(|(_, role)| self.has(**role))
                .map(|(position, role)| self.point(position, *role))
                .collect();
            let data = if nth.is_multiple_of(2) {
                metric::Data::Gauge(Gauge { data_points })
            } else {
                metric::Data::Sum(Sum {
                    data_points,
                    aggregation_temporality: 2,
                    is_monotonic: true,
                })
            };
            Metric {
                name: format!("http.server.requests.{nth}"),
                description: "Requests by route".to_owned(),
                unit: "{request}".to_owned(),
                data: Some(data),
                ..Metric::default()
            }
        };
        ResourceMetrics {
            resource: Some(resource(service)),
            scope_metrics: vec![ScopeMetrics {
                scope: Some(scope()),
                metrics: roles
                    .chunks(POINTS_PER_METRIC)
                    .enumerate()
                    .map(metric)
                    .collect(),
                schema_url: String::new(),
            }],
            schema_url: SCHEMA.to_owned(),
        }
    }

    fn point(&self, position: usize, role: Role) -> NumberDataPoint {
        NumberDataPoint {
            attributes: self.attributes(position, route(position, role)),
            start_time_unix_nano: 1_700_000_000_000_000_000,
            time_unix_nano: 1,
            value: Some(number_data_point::Value::AsInt(1)),
            ..NumberDataPoint::default()
        }
    }

    /// Returns as many attributes as were asked for: those of an HTTP server first, then further
    /// ones. The last one is long enough to bring the item to its size.
    fn attributes(&self, position: usize, route: &str) -> Vec<KeyValue> {
        let number = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
        let mut attributes = vec![
            text("http.route", route),
            text("http.request.method", "GET"),
            int("http.response.status_code", 200),
            text("url.scheme", "https"),
            text("url.path", &route.replace(['{', '}'], "")),
            text("server.address", "shop.example.com"),
            int("server.port", 443),
            text(
                "client.address",
                &format!("10.20.{}.{}", position % 7, position % 251),
            ),
            text("network.protocol.version", "1.1"),
            int("thread.id", number(position % 64)),
            text(
                "thread.name",
                &format!("http-nio-8080-exec-{}", position % 64),
            ),
        ];
        let wanted = self.load.attributes.saturating_sub(1);
        for further in attributes.len()..wanted {
            attributes.push(text(&format!("app.tag.{further}"), "some value"));
        }
        attributes.truncate(wanted);
        if self.load.attributes > 1 {
            attributes.push(text(FILL_KEY, &agent(self.fill)));
        } else if self.load.attributes == 1 {
            attributes.push(text("http.route", route));
        }
        attributes
    }
}

const SCHEMA: &str = "https://opentelemetry.io/schemas/1.30.0";

fn route(position: usize, role: Role) -> &'static str {
    if role == Role::HealthCheck {
        return HEALTH_CHECK;
    }
    ROUTES
        .get(position % ROUTES.len())
        .copied()
        .unwrap_or_default()
}

/// Returns a text of that length, of words that repeat at different distances.
fn agent(length: usize) -> String {
    let words = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0 Safari/537.36 ";
    words.chars().cycle().take(length).collect()
}

fn resource(service: usize) -> Resource {
    let name = SERVICES
        .get(service % SERVICES.len())
        .copied()
        .unwrap_or_default();
    Resource {
        attributes: vec![
            text("service.name", &format!("{name}-{service}")),
            text("service.namespace", "shop"),
            text("service.version", "2.14.3"),
            text(
                "service.instance.id",
                &format!("627cc493-f310-47de-96bd-{service:012}"),
            ),
            text("k8s.pod.name", &format!("{name}-{service}-7d9f8c6b5-x2x4q")),
            text("telemetry.sdk.language", "java"),
            text("telemetry.sdk.version", "1.49.0"),
        ],
        ..Resource::default()
    }
}

fn scope() -> InstrumentationScope {
    InstrumentationScope {
        name: "io.opentelemetry.tomcat-10.0".to_owned(),
        version: "2.15.0-alpha".to_owned(),
        ..InstrumentationScope::default()
    }
}

fn text(key: &str, value: &str) -> KeyValue {
    key_value(key, Value::StringValue(value.to_owned()))
}

fn int(key: &str, value: i64) -> KeyValue {
    key_value(key, Value::IntValue(value))
}

fn key_value(key: &str, value: Value) -> KeyValue {
    KeyValue {
        key: key.to_owned(),
        value: Some(AnyValue { value: Some(value) }),
        ..KeyValue::default()
    }
}
