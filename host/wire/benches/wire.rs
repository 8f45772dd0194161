//! Measures the cost of the wire crate for each span, on spans as services send them: 730 bytes, 12
//! attributes. `cargo bench -p spandrel-wire` prints nanoseconds for each span, medians of several
//! rounds; the budget for `validate` is 250.

#[path = "corpus/request.rs"]
mod corpus;
#[path = "corpus/span.rs"]
mod span;

use std::hint::black_box;
use std::io::{Write, stdout};
use std::time::Duration;

use spandrel_wire::{
    Edits, InvalidUtf8, Limits, Rules, Signal, Traces, count, merge, remove_invalid_items,
    single_trace_part, splice, split_by_size, split_by_trace, validate, write_bytes,
    write_key_value,
};

use corpus::request;
use span::span;

const BATCHES: [usize; 4] = [1, 32, 512, 8192];

/// The number of rounds is odd, so that there is a median.
const ROUNDS: usize = 51;

/// The number of spans in each round. A round takes a millisecond or two, so that on a busy machine
/// most rounds are not interrupted.
const SPANS: usize = 8 * 1024;

fn main() -> std::io::Result<()> {
    let mut out = stdout().lock();
    let batches = BATCHES.map(Batch::new);
    let mut one = Vec::new();
    span(&mut one, 1, 8);
    let size = one.len();
    writeln!(
        out,
        "ns for each span of {size} bytes: median of {ROUNDS} rounds [best]\n"
    )?;
    write!(out, "{:<30}", "spans in a batch")?;
    for spans in BATCHES {
        write!(out, "{spans:>18}")?;
    }
    writeln!(out)?;
    for (name, job) in jobs() {
        write!(out, "{name:<30}")?;
        for batch in &batches {
            let (median, best) = measure(batch, job);
            write!(out, "{median:>9.1} {:>8}", format!("[{best:.1}]"))?;
        }
        writeln!(out)?;
    }
    Ok(())
}

type Job = fn(&Batch) -> usize;

fn jobs() -> [(&'static str, Job); 17] {
    [
        ("validate", |batch| {
            let summary = validate(Signal::Traces, &batch.request, &Limits::default());
            summary.map_or(0, |summary| summary.decoded_bytes)
        }),
        // Does what a receiver does: validates, and checks that the ids are valid.
        ("remove invalid", |batch| cleaned(&batch.request)),
        // Does the same where every hundredth span is taken out, or has a text mended.
        ("remove invalid: 1 % invalid", |batch| {
            cleaned(&batch.spoilt)
        }),
        ("remove invalid: 1 % cut texts", |batch| cleaned(&batch.cut)),
        ("count", |batch| count(Signal::Traces, &batch.request)),
        ("read: one attribute", |batch| {
            let spans = Traces::new(&batch.request).spans();
            spans
                .filter(|placed| placed.span.attribute_str("http.route") == Some("/healthz"))
                .count()
        }),
        ("read: an attribute not there", |batch| {
            let spans = Traces::new(&batch.request).spans();
            spans
                .filter(|placed| placed.span.attribute("tenant").is_some())
                .count()
        }),
        ("read: all attributes", |batch| {
            let spans = Traces::new(&batch.request).spans();
            let attributes = spans.flat_map(|placed| placed.span.attributes());
            attributes
                .filter(|attribute| {
                    attribute.key.len() + attribute.value.as_str().map_or(0, str::len) == 1
                })
                .count()
        }),
        ("read: ids", |batch| {
            let spans = Traces::new(&batch.request).spans();
            spans
                .filter(|placed| placed.span.trace_id() == placed.span.span_id())
                .count()
        }),
        ("splice: keep all", |batch| {
            batch.splice(&batch.keep, Edits::default())
        }),
        ("splice: drop 20 %", |batch| {
            batch.splice(&batch.drop, Edits::default())
        }),
        // A fifth is dropped, and two attributes are set on each of the others.
        ("splice: job 2", |batch| {
            let edits = Edits {
                words: &batch.edits,
                blob: &batch.blob,
            };
            batch.splice(&batch.drop, edits)
        }),
        ("splice: hold all", |batch| {
            batch.splice(&batch.hold, Edits::default())
        }),
        ("single_trace_part", |batch| {
            single_trace_part(&batch.one_trace, 2).unwrap_or(2)
        }),
        ("split_by_trace in 2", |batch| {
            split_by_trace(&batch.request, 2).map_or(0, |parts| parts.len())
        }),
        ("split_by_size in 2", |batch| {
            let most = batch.spans.div_ceil(2);
            split_by_size(Signal::Traces, &batch.request, most).map_or(0, |parts| parts.len())
        }),
        ("merge with another", |batch| {
            merge([&batch.request[..], &batch.request[..]]).len()
        }),
    ]
}

fn cleaned(request: &[u8]) -> usize {
    let limits = Limits::default();
    let cleaned = remove_invalid_items(Signal::Traces, request, &limits, InvalidUtf8::Replace);
    cleaned.map_or(0, |cleaned| cleaned.items)
}

/// A request, and replies to it.
struct Batch {
    spans: usize,
    /// A request with a trace for every 8 spans.
    request: Vec<u8>,
    /// A request with the same trace in every span.
    one_trace: Vec<u8>,
    /// A request where the first of every hundred spans has no id.
    spoilt: Vec<u8>,
    /// A request where the first of every hundred spans has a name that was cut.
    cut: Vec<u8>,
    keep: Vec<u8>,
    drop: Vec<u8>,
    hold: Vec<u8>,
    edits: Vec<u32>,
    blob: Vec<u8>,
}

impl Batch {
    fn new(spans: usize) -> Self {
        let mut blob = Vec::new();
        write_key_value(&mut blob, "team", "checkout");
        let team = blob.len();
        write_key_value(&mut blob, "deployment.environment.name", "production");
        let [team, rest] = [team, blob.len() - team].map(word);
        Self {
            spans,
            request: request(spans, |out, number| span(out, number, 8)),
            one_trace: request(spans, |out, number| span(out, number, u64::MAX)),
            spoilt: request(spans, |out, number| {
                span(out, number, 8);
                if number.is_multiple_of(100) {
                    write_bytes(out, 2, b"");
                }
            }),
            cut: request(spans, |out, number| {
                span(out, number, 8);
                if number.is_multiple_of(100) {
                    write_bytes(out, 5, b"GET /caf\xc3");
                }
            }),
            keep: vec![0; spans],
            drop: (0..spans)
                .map(|span| if span % 5 == 0 { 2 } else { 0 })
                .collect(),
            hold: vec![1; spans],
            edits: (0..spans)
                .map(word)
                .flat_map(|index| [0, index, 0, team, 0, index, team, rest])
                .collect(),
            blob,
        }
    }

    fn splice(&self, verdicts: &[u8], edits: Edits<'_>) -> usize {
        let rules = Rules {
            items: self.spans,
            reasons: 1,
            holds: true,
            limits: Limits::default(),
        };
        splice(&self.request, verdicts, edits, &rules).map_or(0, |spliced| spliced.kept_items)
    }
}

#[expect(clippy::cast_possible_truncation, reason = "batches here are small")]
fn word(number: usize) -> u32 {
    number as u32
}

/// Returns the median and the best time of a span in nanoseconds.
fn measure(batch: &Batch, job: Job) -> (f64, f64) {
    let calls = SPANS / batch.spans;
    let mut rounds = [Duration::ZERO; ROUNDS];
    for round in &mut rounds {
        let start = now();
        for _ in 0..calls {
            black_box(job(black_box(batch)));
        }
        *round = start.elapsed();
    }
    rounds.sort();
    let for_span = |round: Duration| round.as_secs_f64() * 1e9 / (calls * batch.spans) as f64;
    let [best, ..] = rounds;
    (for_span(rounds[ROUNDS / 2]), for_span(best))
}

#[expect(clippy::disallowed_types, reason = "real time is what is measured")]
fn now() -> std::time::Instant {
    std::time::Instant::now()
}
