//! Keys that are searched for together.

use alloc::string::String;
use alloc::vec::Vec;

/// Keys of attributes that are searched for in one walk (see [`Attributes::select`]).
///
/// [`Attributes::select`]: crate::Attributes::select
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Keys {
    keys: Vec<String>,
    /// A bit for each length (modulo 64) that a key has. Most attributes have none of the keys, and
    /// this shows it for most of them without a look at their key.
    lengths: u64,
}

impl Keys {
    /// Makes a list of the keys in this order. If two are equal, the first counts.
    pub fn new(keys: impl IntoIterator<Item = impl Into<String>>) -> Self {
        let keys: Vec<String> = keys.into_iter().map(Into::into).collect();
        let lengths = keys.iter().fold(0, |bits, key| bits | length_bit(key));
        Self { keys, lengths }
    }

    /// Returns the keys, in their order.
    pub fn as_slice(&self) -> &[String] {
        &self.keys
    }

    /// Returns the place of a key among these.
    #[inline]
    pub(crate) fn place(&self, key: &[u8]) -> Option<usize> {
        if self.lengths & length_bit(key) == 0 {
            return None;
        }
        self.keys.iter().position(|known| known.as_bytes() == key)
    }
}

#[inline]
fn length_bit(key: impl AsRef<[u8]>) -> u64 {
    1 << (key.as_ref().len() % 64)
}
