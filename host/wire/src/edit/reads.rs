//! The projection of a batch: a request with the same resources, scopes and spans in the same
//! order, but with only those parts of each span that the plugins of a chain read.

use alloc::string::String;
use alloc::vec::Vec;

use crate::read::attributes::{key_of, plain};
use crate::read::field::{Fields, skip_field};
use crate::write::nested;

/// The parts of spans that a plugin reads. Resources and scopes do not matter here: they are always
/// whole.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reads {
    /// True if it reads anything other than attributes, events and links: ids, name, kind, times,
    /// status, flags.
    fields: bool,
    /// The keys of the attributes that it reads, in order.
    keys: Vec<String>,
    /// A bit for each length (modulo 64) that a key has: most attributes are not read, and their
    /// keys are mostly of another length.
    lengths: u64,
}

impl Reads {
    /// The most keys. With more, a projection would be most of the batch and not worth it.
    pub const KEYS: usize = 32;

    /// The longest key in bytes. Those of the semantic conventions stay below 64 bytes.
    pub const KEY_BYTES: usize = 256;

    /// Makes a value that reads nothing.
    pub const fn new() -> Self {
        Self {
            fields: false,
            keys: Vec::new(),
            lengths: 0,
        }
    }

    /// Returns true if it reads ids, name, kind, times, status or flags.
    pub const fn fields(&self) -> bool {
        self.fields
    }

    /// Returns the keys of the attributes that it reads, in order.
    pub fn keys(&self) -> &[String] {
        &self.keys
    }

    /// Adds ids, name, kind, times, status and flags. Returns true if they are new.
    pub fn add_fields(&mut self) -> bool {
        !core::mem::replace(&mut self.fields, true)
    }

    /// Adds the attribute with this key. Returns true if it is new, and `None` if it is too long or
    /// one too many.
    pub fn add_key(&mut self, key: &str) -> Option<bool> {
        let Err(place) = self.keys.binary_search_by(|known| (**known).cmp(key)) else {
            return Some(false);
        };
        if self.keys.len() >= Self::KEYS || key.len() > Self::KEY_BYTES {
            return None;
        }
        self.keys.insert(place, key.into());
        self.lengths |= length_bit(key.as_bytes());
        Some(true)
    }

    /// Adds what another reads. Returns `None` if it is too much.
    #[must_use]
    pub fn add(&mut self, other: &Self) -> Option<()> {
        self.fields |= other.fields;
        for key in &other.keys {
            self.add_key(key)?;
        }
        Some(())
    }

    /// Returns true if it reads everything that another reads.
    pub fn covers(&self, other: &Self) -> bool {
        let has = |key: &String| self.keys.binary_search(key).is_ok();
        (self.fields || !other.fields) && other.keys.iter().all(has)
    }

    /// Returns true if the attribute with this key is read.
    #[inline]
    pub(crate) fn has(&self, key: &[u8]) -> bool {
        self.lengths & length_bit(key) != 0 && self.keys.iter().any(|known| known.as_bytes() == key)
    }
}

#[inline]
const fn length_bit(key: &[u8]) -> u64 {
    1 << (key.len() % 64)
}

/// The field of a span with its attributes.
const ATTRIBUTE: u32 = 9;

/// The fields of a span that are read together, a bit for each number: all that OTLP knows except
/// attributes, events and links.
const FIELDS: u32 = 0b1_1101_0101_1111_1110;

/// The structure of a request: which scopes belong to each resource, and which spans to each scope.
#[derive(Clone, Debug, Default)]
pub(crate) struct Structure {
    /// For each resource, the number of scopes before its end.
    pub(crate) resources: Vec<u32>,
    /// For each scope, the number of spans before its end.
    pub(crate) scopes: Vec<u32>,
    /// The number of spans.
    pub(crate) items: u32,
}

/// Writes the projection of a valid request, and returns its structure.
pub(crate) fn project(request: &[u8], reads: &Reads) -> (Vec<u8>, Structure) {
    let mut projector = Projector {
        reads,
        // This is room for resources and scopes, and for the few attributes that are mostly read.
        out: Vec::with_capacity(request.len() / 4),
        structure: Structure::default(),
        last: 0,
    };
    projector.request(request);
    (projector.out, projector.structure)
}

struct Projector<'a> {
    reads: &'a Reads,
    out: Vec<u8>,
    structure: Structure,
    /// The length that the last span got: the next one mostly needs a length of as many bytes.
    last: usize,
}

impl Projector<'_> {
    fn request(&mut self, request: &[u8]) {
        for field in Fields::new(request) {
            let Some(resource) = field.message(1) else {
                continue;
            };
            let open = nested::begin(&mut self.out, 1, resource.len() / 4);
            self.resource(resource);
            nested::end(&mut self.out, open);
            self.structure
                .resources
                .push(count(self.structure.scopes.len()));
        }
    }

    fn resource(&mut self, resource: &[u8]) {
        for field in Fields::new(resource) {
            let Some(scope) = field.message(2) else {
                self.out.extend_from_slice(field.raw());
                continue;
            };
            let open = nested::begin(&mut self.out, 2, scope.len() / 4);
            self.scope(scope);
            nested::end(&mut self.out, open);
            self.structure.scopes.push(self.structure.items);
        }
    }

    fn scope(&mut self, scope: &[u8]) {
        for field in Fields::new(scope) {
            let Some(span) = field.message(2) else {
                self.out.extend_from_slice(field.raw());
                continue;
            };
            let open = nested::begin(&mut self.out, 2, self.last);
            let start = self.out.len();
            project_span(&mut self.out, span, self.reads);
            self.last = self.out.len() - start;
            nested::end(&mut self.out, open);
            self.structure.items = self.structure.items.wrapping_add(1);
        }
    }
}

/// Copies the parts of a span that are read, in runs as long as possible.
#[inline]
pub(crate) fn project_span(out: &mut Vec<u8>, span: &[u8], reads: &Reads) {
    let mut rest = span;
    let mut run = span;
    loop {
        let (keeps, after) = if let Some((attribute, after)) = plain(rest, ATTRIBUTE) {
            (reads.has(attribute.key), after)
        } else if let Some(skipped) = skip_field(rest) {
            let keeps = if skipped.key == ATTRIBUTE << 3 | 2 {
                reads.has(key_of(skipped.content))
            } else {
                reads.fields && FIELDS & 1_u32.checked_shl(skipped.key >> 3).unwrap_or(0) != 0
            };
            (keeps, skipped.rest)
        } else {
            break;
        };
        if !keeps {
            if run.len() > rest.len() {
                let kept = run.len() - rest.len();
                out.extend_from_slice(run.get(..kept).unwrap_or_default());
            }
            run = after;
        }
        rest = after;
    }
    let kept = run.len() - rest.len();
    out.extend_from_slice(run.get(..kept).unwrap_or_default());
}

/// Converts a count of things that take bytes each: requests are far below 4 GiB.
#[inline]
fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}
