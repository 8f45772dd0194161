//! Writes many bytes as one piece: `#[serde(with = "spandrel_guest::state::flat")]`.
//!
//! Serde treats an array of bytes as a sequence of numbers, one by one. That is fine for a few; for
//! a hundred thousand ids it takes most of the time of a swap. The fields that may be written this
//! way are `[u8; N]`, `Vec<u8>` and `Vec<[u8; N]>`.
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

/// A type that consists of bytes only.
pub trait Flat: Sized {
    /// Returns all of its bytes.
    fn as_flat(&self) -> &[u8];
    /// Makes the value from all of its bytes, if their number fits.
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
/// Returns the errors of the serializer.
pub fn serialize<T: Flat, S: Serializer>(value: &T, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_bytes(value.as_flat())
}

/// Reads all bytes at once.
///
/// # Errors
/// Returns an error if the number of bytes does not fit the value.
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
