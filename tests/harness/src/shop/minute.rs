//! A minute of the shop, as its services' SDKs would export it.

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::trace::v1::Span;
use rand::Rng as _;
use rand::rngs::StdRng;

use super::{MS, SERVICES, Service, Shop, request};

/// The most spans in one export, as `OTEL_BSP_MAX_EXPORT_BATCH_SIZE`.
const EXPORT_SPANS: usize = 512;
/// The interval at which a service exports, as `OTEL_BSP_SCHEDULE_DELAY`.
const EXPORT_EVERY: u64 = 5_000 * MS;
/// The interval at which each service is asked for its health.
const PROBE_EVERY: u64 = 2_000 * MS;
/// The number of exports in a hundred that a retrying client sends twice.
const SENT_TWICE: u32 = 8;
const MINUTE: u64 = 60_000 * MS;

/// The spans that one service exports in one call.
#[derive(Clone, Debug)]
pub struct Export {
    /// The service that made the spans.
    pub service: Service,
    /// The spans.
    pub request: ExportTraceServiceRequest,
    /// The number of spans.
    pub spans: u64,
    /// True if the client sends it a second time, because it believes the first one lost.
    pub twice: bool,
}

/// A minute of the shop.
#[derive(Clone, Debug)]
pub struct Minute {
    /// The exports, in the order of time.
    pub exports: Vec<Export>,
    /// The number of visitors' whole traces in it.
    pub visits: u64,
    /// The number of health checks in it, each a trace of one span.
    pub probes: u64,
}

impl Minute {
    /// Makes the minute of a shop that begins at `start` (nanoseconds since the epoch).
    pub fn of(shop: &mut Shop, start: u64, visits: u64) -> Self {
        let mut spans: Vec<(Service, Span)> = Vec::new();
        for visit in 0..visits {
            let jitter = shop.random.random_range(0..40) * MS;
            spans.append(&mut shop.visit(start + visit * MINUTE / visits.max(1) + jitter));
        }
        let mut probes = 0;
        for (service, _) in SERVICES.iter().enumerate() {
            for round in 0..MINUTE / PROBE_EVERY {
                let path = if round % 2 == 0 {
                    "/healthz"
                } else {
                    "/readyz"
                };
                let at = start + round * PROBE_EVERY + shop.random.random_range(0..200) * MS;
                spans.append(&mut shop.probe(service, path, at));
                probes += 1;
            }
        }
        Self {
            exports: exports(&mut shop.random, spans, start),
            visits,
            probes,
        }
    }
}

/// Groups these spans as the services' SDKs do: each exports the spans that ended since its
/// last export.
fn exports(random: &mut StdRng, spans: Vec<(Service, Span)>, start: u64) -> Vec<Export> {
    let mut queues: Vec<(u64, Service, Span)> = spans
        .into_iter()
        .map(|(service, span)| {
            let ended = span.end_time_unix_nano.saturating_sub(start);
            (ended / EXPORT_EVERY, service, span)
        })
        .collect();
    queues.sort_by_key(|(round, service, span)| (*round, *service, span.end_time_unix_nano));
    queues
        .chunk_by(|left, right| (left.0, left.1) == (right.0, right.1))
        .flat_map(|exported| exported.chunks(EXPORT_SPANS))
        .map(|chunk| Export {
            service: chunk.first().map_or(0, |(_, service, _)| *service),
            request: request(
                chunk
                    .iter()
                    .map(|(_, service, span)| (*service, span.clone()))
                    .collect(),
            ),
            spans: u64::try_from(chunk.len()).unwrap_or(u64::MAX),
            twice: random.random_range(0..100) < SENT_TWICE,
        })
        .collect()
}
