//! A hash for ids.

use std::hash::{BuildHasher, Hasher};

use crate::host::random;

/// A fast hash for trace and span ids, which are random already. It is meant for the `HashMap`s and
/// `HashSet`s that are queried once for each span.
///
/// Each map has a seed of its own, so that nobody can choose ids that all collide.
///
/// ```
/// use spandrel_guest::IdHash;
/// use std::collections::HashSet;
///
/// let mut seen: HashSet<[u8; 16], IdHash> = HashSet::default();
/// assert!(seen.insert([7; 16]));
/// ```
#[derive(Clone, Copy, Debug)]
pub struct IdHash {
    seed: u64,
}

impl Default for IdHash {
    fn default() -> Self {
        Self { seed: random() }
    }
}

impl BuildHasher for IdHash {
    type Hasher = IdHasher;

    #[inline]
    fn build_hasher(&self) -> IdHasher {
        IdHasher { mixed: self.seed }
    }
}

/// The hasher of [`IdHash`].
#[derive(Clone, Copy, Debug)]
pub struct IdHasher {
    mixed: u64,
}

impl Hasher for IdHasher {
    #[inline]
    fn write_u64(&mut self, word: u64) {
        let mixed = (self.mixed ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.mixed = mixed ^ (mixed >> 32);
    }

    #[inline]
    fn write_usize(&mut self, word: usize) {
        self.write_u64(word as u64);
    }

    #[inline]
    fn write(&mut self, bytes: &[u8]) {
        let (words, rest) = bytes.as_chunks::<8>();
        for word in words {
            self.write_u64(u64::from_le_bytes(*word));
        }
        for &byte in rest {
            self.write_u64(byte.into());
        }
    }

    #[inline]
    fn finish(&self) -> u64 {
        // A hash table takes the bucket from the low bits and the tag from the high ones.
        let mixed = self.mixed.wrapping_mul(0xd6e8_feb8_6659_fd93);
        mixed ^ (mixed >> 32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Ids that count up, as bad tracers make them, spread over all buckets and tags of a table.
    #[test]
    fn sequential_ids_spread() {
        let hash = IdHash { seed: 1 };
        let (mut places, mut tags) = ([0_u32; 256], [0_u32; 128]);
        for id in 0..32_768_u128 {
            let hashed = hash.hash_one(id.to_be_bytes());
            places[usize::try_from(hashed & 0xff).unwrap()] += 1;
            tags[usize::try_from(hashed >> 57).unwrap()] += 1;
        }
        assert!(
            places.iter().all(|count| (64..256).contains(count)),
            "{places:?}"
        );
        assert!(
            tags.iter().all(|count| (128..512).contains(count)),
            "{tags:?}"
        );
    }

    /// Maps with different seeds have different orders: ids that collide in one do not in the
    /// other.
    #[test]
    fn seeds_differ() {
        let ids = [[1_u8; 16], [2; 16]];
        let hashes = ids.map(|id| [1, 2].map(|seed| IdHash { seed }.hash_one(id)));
        assert_ne!(hashes[0][0], hashes[0][1]);
        assert_ne!(hashes[0][0] ^ hashes[1][0], hashes[0][1] ^ hashes[1][1]);
    }
}
