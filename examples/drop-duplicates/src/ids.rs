//! The identity of a span.

use std::hash::{Hash, Hasher};

use spandrel_guest::Span;

/// The identity of a span: its whole trace id and span id, and a fingerprint of its other fields. A
/// repeated export has the same identity, and no other span has it.
///
/// Ids alone are not enough. With Zipkin's B3 headers (Brave, Sleuth, Envoy, Istio) the client's
/// and the server's span of one call share an id, and a process that was forked may give the same
/// ids again. They differ in kind, name or times. The fingerprint is a hash: with both ids equal,
/// two spans are taken for one by mistake once in 2^64.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ids([u64; 4]);

impl Ids {
    pub(crate) const BYTES: usize = 32;

    /// Returns the identity of a span; `None` without ids, because such a span cannot be told from
    /// another.
    pub(crate) fn of(span: &Span<'_>) -> Option<Self> {
        let (high, low) = span.trace_id().split_first_chunk()?;
        let high = u64::from_le_bytes(*high);
        let low = u64::from_le_bytes(low.try_into().ok()?);
        let own = u64::from_le_bytes(span.span_id().try_into().ok()?);
        if high | low == 0 || own == 0 {
            return None;
        }
        Some(Self([high, low, own, fingerprint(span)]))
    }

    pub(crate) fn to_bytes(self) -> [u8; Self::BYTES] {
        let mut bytes = [0; Self::BYTES];
        for (bytes, word) in bytes.as_chunks_mut().0.iter_mut().zip(self.0) {
            *bytes = word.to_le_bytes();
        }
        bytes
    }

    pub(crate) fn from_bytes(bytes: &[u8; Self::BYTES]) -> Self {
        let mut words = [0; 4];
        for (word, bytes) in words.iter_mut().zip(bytes.as_chunks().0) {
            *word = u64::from_le_bytes(*bytes);
        }
        Self(words)
    }
}

impl Hash for Ids {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        for word in self.0 {
            hasher.write_u64(word);
        }
    }
}

/// Hashes kind, times and name. Attributes are left out, because an agent on the way may add some
/// to one of two copies. The hash goes into the state: changing it requires a new `STATE_VERSION`.
fn fingerprint(span: &Span<'_>) -> u64 {
    let name = span.name().as_bytes();
    let (words, rest) = name.as_chunks();
    let mut last = [0; 8];
    for (to, from) in last.iter_mut().zip(rest) {
        *to = *from;
    }
    let kind_and_length = u64::from(span.kind().number()) << 32 | name.len() as u64;
    let mut hash = mix(0, span.start_time_unix_nano());
    hash = mix(hash, span.end_time_unix_nano());
    hash = mix(hash, kind_and_length);
    for word in words {
        hash = mix(hash, u64::from_le_bytes(*word));
    }
    mix(hash, u64::from_le_bytes(last))
}

/// Mixes a word into the hash. Each bit of the word changes about half of the bits of the hash.
fn mix(hash: u64, word: u64) -> u64 {
    let mixed = (hash ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed ^ (mixed >> 32)).wrapping_mul(0xd6e8_feb8_6659_fd93) ^ (mixed >> 29)
}
