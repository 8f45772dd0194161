//! The job that measures a hop: it filters by attribute, drops spans that were seen, and adds two
//! attributes.
//!
//! One source serves two builds: the component, and its native twin in the bench.

use std::collections::HashSet;
use std::hash::{BuildHasherDefault, Hasher};

use spandrel_guest::{Batch, Manifest, Plugin, Reason, Span};

const HEALTH: Reason = Reason(0);
const DUPLICATE: Reason = Reason(1);

/// The number of ids that one generation of the memory takes before it becomes the elder.
const WINDOW: usize = 2048;

/// The job's memory: the ids of recent spans, in two generations.
#[derive(Debug, Default)]
pub(crate) struct Job {
    younger: Ids,
    elder: Ids,
}

type Ids = HashSet<[u64; 3], BuildHasherDefault<Mixing>>;

/// The empty config: the job has nothing to configure.
#[derive(Debug, serde::Deserialize)]
pub(crate) struct Config {}

impl Plugin for Job {
    type Config = Config;

    fn manifest(&self) -> Manifest {
        Manifest::new().drop_reasons(&["health", "duplicate"])
    }

    fn configure(_: Config) -> Result<Self, String> {
        Ok(Self::default())
    }

    fn process(&mut self, batch: &mut Batch) {
        for resource in batch.resources() {
            let service = resource.attribute_str("service.name").unwrap_or_default();
            let (team, tier) = owner(service);
            let team = batch.prepare("team", team);
            let tier = batch.prepare("tier", tier);
            for span in resource.spans() {
                if span.attribute_str("http.route") == Some("/healthz") {
                    span.drop(HEALTH);
                } else if self.is_known(&span) {
                    span.drop(DUPLICATE);
                } else {
                    span.set(team);
                    span.set(tier);
                }
            }
        }
    }
}

impl Job {
    /// Returns true if the span is remembered. It is remembered from now on.
    fn is_known(&mut self, span: &Span<'_>) -> bool {
        let ids = [
            word(span.trace_id(), 0),
            word(span.trace_id(), 8),
            word(span.span_id(), 0),
        ];
        if self.elder.contains(&ids) || !self.younger.insert(ids) {
            return true;
        }
        if self.younger.len() >= WINDOW {
            std::mem::swap(&mut self.younger, &mut self.elder);
            self.younger.clear();
        }
        false
    }
}

fn word(bytes: &[u8], at: usize) -> u64 {
    let bytes = bytes.get(at..).and_then(|rest| rest.first_chunk::<8>());
    u64::from_le_bytes(bytes.copied().unwrap_or_default())
}

fn owner(service: &str) -> (&'static str, &'static str) {
    match service {
        "checkout" => ("payments", "gold"),
        "cart" => ("shop", "silver"),
        _ => ("platform", "bronze"),
    }
}

/// A hasher that multiplies and rotates, which is enough because ids are random already.
#[derive(Debug, Default)]
pub(crate) struct Mixing(u64);

impl Hasher for Mixing {
    fn finish(&self) -> u64 {
        self.0.rotate_left(26)
    }

    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            for (to, from) in word.iter_mut().zip(chunk) {
                *to = *from;
            }
            self.write_u64(u64::from_le_bytes(word));
        }
    }

    fn write_u64(&mut self, word: u64) {
        self.0 = (self.0.rotate_left(5) ^ word).wrapping_mul(0x517c_c1b7_2722_0a95);
    }

    fn write_usize(&mut self, _length: usize) {
        // The length of the array is always three, so it is not hashed.
    }
}
