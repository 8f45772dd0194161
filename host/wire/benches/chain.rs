//! Measures the cost of a chain of plugins for each span, with a splice of the whole batch after
//! each plugin and with a projection of the batch and one splice at the end. The plugins are native
//! here. In WebAssembly, reading costs nearly twice as much, and each plugin's copy of its batch
//! comes on top. `cargo bench -p spandrel-wire --bench chain` prints nanoseconds for each span that
//! came, medians.

#[path = "corpus/request.rs"]
mod corpus;

use std::hint::black_box;
use std::io::{Write, stdout};
use std::time::Duration;

use spandrel_wire::{
    Edits, Limits, Output, Projection, Reads, Rules, Traces, splice, write_bytes, write_fixed32,
    write_fixed64, write_key_value, write_nested, write_text, write_varint_field,
};

use corpus::request;

const SPANS: usize = 512;
const ROUNDS: usize = 51;
const CALLS: usize = 8;

fn main() -> std::io::Result<()> {
    let mut out = stdout().lock();
    let request = request(SPANS, span);
    let size = request.len() / SPANS;
    writeln!(
        out,
        "ns for each of {SPANS} spans of {size} bytes: median of {ROUNDS} rounds [best]\n"
    )?;
    for (name, own_keys) in [
        ("each plugin reads the same attribute", false),
        ("each plugin reads that one and one of its own", true),
    ] {
        writeln!(out, "{name}")?;
        writeln!(
            out,
            "{:<10}{:>18}{:>18}{:>14}{:>14}{:>14}{:>14}{:>14}{:>14}",
            "plugins",
            "spliced each",
            "projected",
            "scan full",
            "scan proj.",
            "bytes/span",
            "project",
            "apply",
            "last splice"
        )?;
        for plugins in [1, 2, 5] {
            let chain = Chain {
                plugins: (0..plugins).map(|at| Plugin::new(at, own_keys)).collect(),
            };
            let each = measure(|| chain.spliced_each(&request).len());
            let projected = measure(|| chain.projected(&request).len());
            write!(
                out,
                "{plugins:<10}{:>9.1} {:>8}{:>9.1} {:>8}",
                each.0,
                format!("[{:.1}]", each.1),
                projected.0,
                format!("[{:.1}]", projected.1)
            )?;
            let scan = |bytes: &[u8]| {
                let mut reply = Reply::default();
                let mut edits = 0;
                for plugin in &chain.plugins {
                    plugin.read(bytes, &mut reply);
                    edits += reply.words.len();
                }
                edits
            };
            let projection = Projection::new(&request, chain.reads());
            let full = measure(|| scan(&request)).0;
            let small = measure(|| scan(projection.bytes())).0;
            let project = measure(|| Projection::new(&request, chain.reads()).bytes().len()).0;
            let replies = chain.replies(&request);
            let apply = measure(|| {
                let mut projection = projection.clone();
                chain.apply(&mut projection, &replies)
            })
            .0 - measure(|| projection.clone().bytes().len()).0;
            let mut applied = projection.clone();
            chain.apply(&mut applied, &replies);
            let last = measure(|| kept(Some(applied.splice(&request)), &request).len()).0;
            writeln!(
                out,
                "{full:>14.1}{small:>14.1}{:>14}{project:>14.1}{apply:>14.1}{last:>14.1}",
                projection.bytes().len() / SPANS
            )?;
        }
    }
    Ok(())
}

/// A plugin that reads one or two attributes and sets two. The first also drops every fifth span.
struct Plugin {
    own: Option<&'static str>,
    blob: Vec<u8>,
    snippets: [[u32; 2]; 2],
    drops: bool,
}

#[derive(Clone, Default)]
struct Reply {
    verdicts: Vec<u8>,
    words: Vec<u32>,
}

const OWN: [&str; 5] = [
    "http.request.method",
    "server.address",
    "http.response.status_code",
    "thread.name",
    "shop.cart.total",
];

impl Plugin {
    fn new(at: usize, own_keys: bool) -> Self {
        let mut blob = Vec::new();
        write_key_value(&mut blob, &format!("stage.{at}.team"), "checkout");
        let first = blob.len();
        write_key_value(&mut blob, &format!("stage.{at}.environment"), "production");
        let [first, rest] = [first, blob.len() - first].map(word);
        Self {
            own: OWN.get(at).copied().filter(|_| own_keys),
            blob,
            snippets: [[0, first], [first, rest]],
            drops: at == 0,
        }
    }

    fn read(&self, batch: &[u8], reply: &mut Reply) {
        reply.verdicts.clear();
        reply.words.clear();
        let mut drops = false;
        for placed in Traces::new(batch).spans() {
            let route = placed.span.attribute_str("http.route");
            let dropped = self.drops && route == Some("/healthz");
            reply.verdicts.push(if dropped { 2 } else { 0 });
            drops |= dropped;
            if let Some(own) = self.own {
                black_box(placed.span.attribute(own));
            }
            if !dropped {
                for [offset, length] in self.snippets {
                    reply
                        .words
                        .extend_from_slice(&[0, placed.index, offset, length]);
                }
            }
        }
        if !drops {
            reply.verdicts.clear();
        }
    }
}

struct Chain {
    plugins: Vec<Plugin>,
}

impl Chain {
    fn reads(&self) -> Reads {
        let mut reads = Reads::new();
        reads.add_key("http.route");
        for own in self.plugins.iter().filter_map(|plugin| plugin.own) {
            reads.add_key(own);
        }
        reads
    }

    fn spliced_each(&self, request: &[u8]) -> Vec<u8> {
        let mut batch = request.to_vec();
        let mut items = SPANS;
        let mut reply = Reply::default();
        for plugin in &self.plugins {
            plugin.read(&batch, &mut reply);
            let edits = Edits {
                words: &reply.words,
                blob: &plugin.blob,
            };
            if let Ok(spliced) = splice(&batch, &reply.verdicts, edits, &rules(items)) {
                items = spliced.kept_items;
                batch = kept(Some(spliced.output), &batch);
            }
        }
        batch
    }

    fn projected(&self, request: &[u8]) -> Vec<u8> {
        kept(Some(self.row(request, |_| ()).splice(request)), request)
    }

    fn replies(&self, request: &[u8]) -> Vec<Reply> {
        let mut replies = Vec::new();
        self.row(request, |reply| replies.push(reply.clone()));
        replies
    }

    /// Returns the projection behind the last plugin; `each` sees the reply of every plugin.
    fn row(&self, request: &[u8], mut each: impl FnMut(&Reply)) -> Projection {
        let mut projection = Projection::new(request, self.reads());
        let mut items = SPANS;
        let mut reply = Reply::default();
        for plugin in &self.plugins {
            plugin.read(projection.bytes(), &mut reply);
            let edits = Edits {
                words: &reply.words,
                blob: &plugin.blob,
            };
            if let Ok(applied) = projection.apply(&reply.verdicts, edits, &rules(items)) {
                items = applied.kept_items;
            }
            each(&reply);
        }
        projection
    }

    fn apply(&self, projection: &mut Projection, replies: &[Reply]) -> usize {
        let mut items = SPANS;
        for (plugin, reply) in self.plugins.iter().zip(replies) {
            let edits = Edits {
                words: &reply.words,
                blob: &plugin.blob,
            };
            if let Ok(applied) = projection.apply(&reply.verdicts, edits, &rules(items)) {
                items = applied.kept_items;
            }
        }
        items
    }
}

fn rules(items: usize) -> Rules {
    Rules {
        items,
        reasons: 1,
        holds: false,
        limits: Limits::default(),
    }
}

fn kept(kept: Option<Output>, request: &[u8]) -> Vec<u8> {
    match kept {
        Some(Output::Request(bytes)) => bytes,
        Some(Output::Unchanged) => request.to_vec(),
        Some(Output::Nothing) | None => Vec::new(),
    }
}

#[expect(clippy::cast_possible_truncation, reason = "batches here are small")]
fn word(number: usize) -> u32 {
    number as u32
}

/// Returns the median and the best time of a span in nanoseconds.
fn measure(mut job: impl FnMut() -> usize) -> (f64, f64) {
    let mut rounds = [Duration::ZERO; ROUNDS];
    for round in &mut rounds {
        let start = now();
        for _ in 0..CALLS {
            black_box(job());
        }
        *round = start.elapsed();
    }
    rounds.sort();
    let for_span = |round: Duration| round.as_secs_f64() * 1e9 / (CALLS * SPANS) as f64;
    let [best, ..] = rounds;
    (for_span(rounds[ROUNDS / 2]), for_span(best))
}

#[expect(clippy::disallowed_types, reason = "real time is what is measured")]
fn now() -> std::time::Instant {
    std::time::Instant::now()
}

fn span(out: &mut Vec<u8>, number: u64) {
    let mixed = |number: u64| number.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes();
    let (trace, id) = (mixed(number / 8), mixed(number));
    let begin = 1_763_798_400_000_000_000 + number * 1_000_003;
    write_bytes(out, 1, &[trace, trace].concat());
    write_bytes(out, 2, &id);
    write_bytes(out, 4, &id);
    write_text(out, 5, "GET /api/v1/carts/{cartId}/items");
    write_varint_field(out, 6, 2);
    write_fixed64(out, 7, begin);
    write_fixed64(out, 8, begin + 12_345_678);
    let route = if number.is_multiple_of(5) {
        "/healthz"
    } else {
        "/api/v1/carts/{cartId}/items"
    };
    for (key, value) in [
        ("http.request.method", "GET"),
        ("url.path", "/api/v1/carts/7f3c9a52-2f1b/items"),
        ("url.query", "currency=EUR&include=prices"),
        ("server.address", "checkout.shop.svc.cluster.local"),
        ("client.address", "203.0.113.195"),
        ("http.route", route),
        ("user_agent.original", "Mozilla/5.0 (X11; Linux x86_64)"),
        ("thread.name", "http-nio-8080-exec-7"),
        (
            "url.full",
            "https://shop.example.com/api/v1/carts/7f3c9a52-2f1b/items?currency=EUR",
        ),
    ] {
        write_nested(out, 9, |out| write_key_value(out, key, value));
    }
    write_nested(out, 9, |out| {
        write_key_value(out, "http.response.status_code", 200)
    });
    write_nested(out, 9, |out| write_key_value(out, "server.port", 8443));
    write_nested(out, 9, |out| {
        write_key_value(out, "shop.cart.total", 129.95)
    });
    write_nested(out, 15, |_| {});
    write_fixed32(out, 16, 0x101);
}
