//! Many bytes as one piece: `#[serde(with = "spandrel_guest::state::flat")]`.
//!
//! Serde sees an array of bytes as so many numbers, one by one. That is fine for a few; of a hundred
//! thousand ids it takes most of the time of a swap. The fields that may be written so are `[u8; N]`,
//! `Vec<u8>` and `Vec<[u8; N]>`.
//!
//! ```
//! use serde::{Deserialize, Serialize};
//! use spandrel_guest::state;
//!
//! #[derive(Debug, PartialEq, Serialize, Deserialize)]
//! struct Seen {
//!     #[serde(with = "spandrel_guest::state::flat")]
//!     spans: Vec<[u8; 8]>,
//! }
//!
//! let seen = Seen { spans: vec![[1; 8], [2; 8]] };
//! let bytes = state::to_bytes(&seen).unwrap();
//! assert_eq!(bytes.len(), 1 + 16);
//! assert_eq!(state::from_bytes(&bytes), Ok(seen));
//! ```

use std::fmt;
use std::marker::PhantomData;

use serde::de::{Error, Visitor};
use serde::{Deserializer, Serializer};

/// What is bytes and nothing else.
pub trait Flat: Sized {
    /// All of its bytes.
    fn as_flat(&self) -> &[u8];
    /// The value out of all of its bytes, if there are as many as it takes.
    fn from_flat(bytes: &[u8]) -> Option<Self>;
}

impl<const N: usize> Flat for [u8; N] {
    fn as_flat(&self) -> &[u8] {
        self
    }

    fn from_flat(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok()
    }
}

impl Flat for Vec<u8> {
    fn as_flat(&self) -> &[u8] {
        self
    }

    fn from_flat(bytes: &[u8]) -> Option<Self> {
        Some(bytes.to_vec())
    }
}

impl<const N: usize> Flat for Vec<[u8; N]> {
    fn as_flat(&self) -> &[u8] {
        self.as_flattened()
    }

    fn from_flat(bytes: &[u8]) -> Option<Self> {
        let (rows, []) = bytes.as_chunks::<N>() else {
            return None;
        };
        Some(rows.to_vec())
    }
}

/// Writes all bytes at once.
///
/// # Errors
/// Those of the serializer.
pub fn serialize<T: Flat, S: Serializer>(value: &T, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_bytes(value.as_flat())
}

/// Reads all bytes at once.
///
/// # Errors
/// When there are not as many as the value takes.
pub fn deserialize<'de, T: Flat, D: Deserializer<'de>>(deserializer: D) -> Result<T, D::Error> {
    struct Bytes<T>(PhantomData<T>);

    impl<T: Flat> Visitor<'_> for Bytes<T> {
        type Value = T;

        fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
            formatter.write_str("bytes of the right number")
        }

        fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<T, E> {
            T::from_flat(bytes).ok_or_else(|| E::invalid_length(bytes.len(), &self))
        }
    }

    deserializer.deserialize_bytes(Bytes(PhantomData))
}
