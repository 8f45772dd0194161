//! Traces of a web shop. A seed makes them, so every run of a test sends the same ones.
//!
//! Eight services call each other for visitors (5 to 25 spans a trace), a prober asks each of them
//! for its health, some visits fail, some are slow, and one client sends some requests twice.

pub mod attribute;
mod minute;
mod route;

use std::time::{SystemTime, UNIX_EPOCH};

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::InstrumentationScope;
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::span::{Event, SpanKind};
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

use attribute::{Http, number, text};
pub use minute::{Export, Minute};
use route::{Endpoint, Step, VISITS};
pub use route::{SERVICES, Service};

/// The number of nanoseconds in a microsecond.
const US: u64 = 1_000;
/// The number of nanoseconds in a millisecond.
const MS: u64 = 1_000_000;
/// The number of failing visits in a thousand.
const FAILING: u32 = 20;
/// The number of slow visits in a thousand.
const SLOW: u32 = 30;

/// The spans of one visit, each with the service that made it.
pub type Trace = Vec<(Service, Span)>;

/// The shop. Two shops with the same seed make the same traces.
#[derive(Debug)]
pub struct Shop {
    random: StdRng,
    visits: u64,
}

/// The properties that all spans of one visit share.
struct Visit {
    trace_id: Vec<u8>,
    number: u64,
    /// True if the next leaf of the call tree fails.
    failing: bool,
    /// True if the next query takes seconds.
    slow: bool,
    spans: Trace,
}

impl Shop {
    /// Makes a shop whose traces depend only on `seed`.
    pub fn new(seed: u64) -> Self {
        Self {
            random: StdRng::seed_from_u64(seed),
            visits: 0,
        }
    }

    /// Makes the trace of one visit that begins at `start` (nanoseconds since the epoch).
    pub fn visit(&mut self, start: u64) -> Trace {
        let endpoint = self.pick();
        self.visits += 1;
        let mut visit = Visit {
            trace_id: self.random.random::<[u8; 16]>().to_vec(),
            number: self.visits,
            failing: self.random.random_range(0..1000) < FAILING,
            slow: self.random.random_range(0..1000) < SLOW,
            spans: Vec::new(),
        };
        self.serve(&mut visit, endpoint, &[], start);
        visit.spans
    }

    /// Makes the trace of one health check: a single span.
    pub fn probe(&mut self, service: Service, path: &str, start: u64) -> Trace {
        let end = start + self.random.random_range(80..400) * US;
        let trace_id: [u8; 16] = self.random.random();
        let mut span = self.span(&trace_id, &[], SpanKind::Server, start, end);
        span.name = format!("GET {path}");
        span.attributes = Http::new("GET", path, service).attributes();
        span.attributes
            .push(text("user_agent.original", "kube-probe/1.31"));
        span.attributes.push(text("client.address", "10.0.0.1"));
        vec![(service, span)]
    }

    /// Makes one request with at least `spans` spans, from whole visits that begin now.
    pub fn request(&mut self, spans: usize) -> ExportTraceServiceRequest {
        let mut all = Trace::new();
        while all.len() < spans {
            all.append(&mut self.visit(now()));
        }
        request(all)
    }

    /// Serves one call, from `at` on. Returns the time when it ended, and true if it failed.
    fn serve(
        &mut self,
        visit: &mut Visit,
        endpoint: &Endpoint,
        parent: &[u8],
        at: u64,
    ) -> (u64, bool) {
        let mut span = self.span(&visit.trace_id, parent, SpanKind::Server, at, at);
        let mut cursor = at + self.random.random_range(50..400) * US;
        let mut failed = false;
        for step in endpoint.steps {
            let (end, step_failed) = match step {
                Step::Call(callee) => {
                    self.call(visit, endpoint.service, callee, &span.span_id, cursor)
                }
                Step::Query { .. } | Step::Work(_) => {
                    self.work(visit, endpoint.service, step, &span.span_id, cursor)
                }
            };
            cursor = end + self.random.random_range(10..120) * US;
            if step_failed {
                failed = true;
                break;
            }
        }
        span.end_time_unix_nano = cursor;
        span.name = format!("{} {}", endpoint.method, endpoint.route);
        span.attributes = visit.http(endpoint, failed).attributes();
        let agent = if parent.is_empty() {
            "Mozilla/5.0 (X11; Linux x86_64; rv:144.0) Gecko/20100101 Firefox/144.0"
        } else {
            "shop-http/2.4"
        };
        span.attributes.push(text("user_agent.original", agent));
        let host = visit.number % 250 + 1;
        span.attributes
            .push(text("client.address", format!("203.0.113.{host}")));
        mark(&mut span, failed);
        visit.spans.push((endpoint.service, span));
        (cursor, failed)
    }

    /// Calls another service: a client span around the spans of that service.
    fn call(
        &mut self,
        visit: &mut Visit,
        service: Service,
        callee: &Endpoint,
        parent: &[u8],
        at: u64,
    ) -> (u64, bool) {
        let mut span = self.span(&visit.trace_id, parent, SpanKind::Client, at, at);
        let network = self.random.random_range(80..900) * US;
        let (served, failed) = self.serve(visit, callee, &span.span_id, at + network);
        span.end_time_unix_nano = served + network;
        span.name = callee.method.to_owned();
        span.attributes = visit.http(callee, failed).attributes();
        span.attributes.push(number("http.request.resend_count", 0));
        mark(&mut span, failed);
        visit.spans.push((service, span));
        (served + network, failed)
    }

    /// Queries a database, or works.
    fn work(
        &mut self,
        visit: &mut Visit,
        service: Service,
        step: &Step,
        parent: &[u8],
        at: u64,
    ) -> (u64, bool) {
        let failed = std::mem::take(&mut visit.failing);
        let slow = std::mem::take(&mut visit.slow);
        let took = if slow {
            self.random.random_range(1_500..4_000) * MS
        } else {
            self.random.random_range(200..9_000) * US
        };
        let mut span = self.span(&visit.trace_id, parent, SpanKind::Internal, at, at + took);
        match step {
            Step::Query { system, text: sql } => {
                span.kind = SpanKind::Client.into();
                span.name = sql.split(' ').next().unwrap_or_default().to_owned();
                span.attributes = attribute::query(system, sql, service);
            }
            Step::Work(name) => {
                span.name = (*name).to_owned();
                span.attributes = attribute::work(name, visit.number);
            }
            Step::Call(_) => {}
        }
        mark(&mut span, failed);
        visit.spans.push((service, span));
        (at + took, failed)
    }

    /// Picks an endpoint that a visitor asks for, by the endpoints' shares.
    fn pick(&mut self) -> &'static Endpoint {
        let mut pick = self.random.random_range(0..100);
        for (share, endpoint) in VISITS {
            if pick < share {
                return endpoint;
            }
            pick -= share;
        }
        &route::HOME_PAGE
    }

    fn span(
        &mut self,
        trace_id: &[u8],
        parent: &[u8],
        kind: SpanKind,
        start: u64,
        end: u64,
    ) -> Span {
        Span {
            trace_id: trace_id.to_vec(),
            span_id: self
                .random
                .random_range(1..=u64::MAX)
                .to_be_bytes()
                .to_vec(),
            parent_span_id: parent.to_vec(),
            flags: 1,
            kind: kind.into(),
            start_time_unix_nano: start,
            end_time_unix_nano: end,
            ..Span::default()
        }
    }
}

impl Visit {
    fn http(&self, endpoint: &Endpoint, failed: bool) -> Http {
        Http {
            path: endpoint.route.replace("{id}", &self.number.to_string()),
            status: if failed { 500 } else { 200 },
            ..Http::new(endpoint.method, endpoint.route, endpoint.service)
        }
    }
}

/// Marks a span as failed or not.
fn mark(span: &mut Span, failed: bool) {
    let code = if failed {
        span.events.push(Event {
            time_unix_nano: span.end_time_unix_nano,
            name: "exception".to_owned(),
            attributes: vec![
                text("exception.type", "UpstreamError"),
                text("exception.message", "the upstream did not answer"),
            ],
            ..Event::default()
        });
        StatusCode::Error
    } else {
        StatusCode::Unset
    };
    span.status = Some(Status {
        code: code.into(),
        message: String::new(),
    });
}

/// Returns the current time in nanoseconds since the epoch.
pub fn now() -> u64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

/// Makes one request with these spans and a resource for each service.
pub fn request(spans: Trace) -> ExportTraceServiceRequest {
    let mut by_service: [Vec<Span>; SERVICES.len()] = Default::default();
    for (service, span) in spans {
        if let Some(spans) = by_service.get_mut(service) {
            spans.push(span);
        }
    }
    let resource_spans = (0..)
        .zip(by_service)
        .filter(|(_, spans)| !spans.is_empty())
        .map(|(service, spans)| ResourceSpans {
            resource: Some(resource(service)),
            scope_spans: vec![ScopeSpans {
                scope: Some(InstrumentationScope {
                    name: "shop.http".to_owned(),
                    version: "2.4.1".to_owned(),
                    ..InstrumentationScope::default()
                }),
                spans,
                schema_url: "https://opentelemetry.io/schemas/1.44.0".to_owned(),
            }],
            schema_url: String::new(),
        })
        .collect();
    ExportTraceServiceRequest { resource_spans }
}

/// Makes the resource of one service, as its SDK would describe it.
pub fn resource(service: Service) -> Resource {
    let name = SERVICES.get(service).copied().unwrap_or("unknown");
    Resource {
        attributes: vec![
            text("service.name", name),
            text("service.version", "1.18.0"),
            text("service.namespace", "shop"),
            text("service.instance.id", format!("{name}-7d9f6c5b8-x2x4q")),
            text("telemetry.sdk.name", "opentelemetry"),
            text("telemetry.sdk.language", "rust"),
        ],
        ..Resource::default()
    }
}

/// Returns the span ids in a request.
pub fn span_ids(request: &ExportTraceServiceRequest) -> impl Iterator<Item = u64> + '_ {
    spans(&request.resource_spans).map(|(_, span)| span_id(span))
}

/// Returns the spans of these resources, each with its resource.
pub fn spans(resources: &[ResourceSpans]) -> impl Iterator<Item = (Option<&Resource>, &Span)> {
    resources.iter().flat_map(|entry| {
        let spans = entry.scope_spans.iter().flat_map(|scope| &scope.spans);
        spans.map(|span| (entry.resource.as_ref(), span))
    })
}

/// Returns a span's id as a number; 0, which no valid span has, if it is not 8 bytes long.
pub fn span_id(span: &Span) -> u64 {
    let bytes = <[u8; 8]>::try_from(span.span_id.as_slice()).unwrap_or_default();
    u64::from_be_bytes(bytes)
}
