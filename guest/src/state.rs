//! The state that goes from one generation of a plugin to the next: any type that serde can write,
//! as compact bytes.
//!
//! Derive `Serialize` and `Deserialize` for what the plugin knows; then
//! [`snapshot`](crate::Plugin::snapshot) is one line and [`restore`](crate::Plugin::restore) a few:
//!
//! ```
//! use spandrel_guest::prelude::*;
//!
//! /// What `Known` looks like. It goes up when a field comes, goes, or changes its type.
//! const STATE_VERSION: u32 = 2;
//!
//! #[derive(Default, Serialize, Deserialize)]
//! struct Known {
//!     requests: u64,
//!     last_error: Option<Moment>,
//! }
//!
//! /// Version 1, as long as a collector somewhere may still run it.
//! #[derive(Deserialize)]
//! struct KnownOnce {
//!     requests: u64,
//! }
//!
//! struct Counting {
//!     known: Known,
//! }
//!
//! # #[derive(Deserialize)]
//! # struct Config {}
//! impl Plugin for Counting {
//! #   type Config = Config;
//! #   fn configure(_: Config) -> Result<Self, String> { Ok(Self { known: Known::default() }) }
//! #   fn process(&mut self, batch: &mut Batch) { self.known.requests += batch.spans().count() as u64; }
//!     fn manifest(&self) -> Manifest {
//!         Manifest::new().state_version(STATE_VERSION)
//!     }
//!
//!     fn snapshot(&mut self) -> Option<Vec<u8>> {
//!         state::to_bytes(&self.known)
//!     }
//!
//!     fn restore(&mut self, version: u32, bytes: &[u8]) -> Result<(), String> {
//!         let came: Known = match version {
//!             STATE_VERSION => state::from_bytes(bytes)?,
//!             1 => {
//!                 let KnownOnce { requests } = state::from_bytes(bytes)?;
//!                 Known { requests, last_error: None }
//!             }
//!             other => return Err(state::unreadable(other, STATE_VERSION)),
//!         };
//!         self.known.requests += came.requests;
//!         self.known.last_error = self.known.last_error.max(came.last_error);
//!         Ok(())
//!     }
//! }
//! # let mut host = spandrel_guest::testing::TestHost::<Counting>::configure("{}").unwrap();
//! # host.restore(1, &[7]).unwrap();
//! # let (version, bytes) = host.snapshot().unwrap();
//! # host.restore(version, &bytes).unwrap();
//! # assert_eq!(host.plugin().known.requests, 14);
//! # let newer = host.restore(3, &[]).unwrap_err();
//! # assert_eq!(newer, "state version 3 is newer than 2, the newest that this plugin reads");
//! ```
//!
//! [`Held`](crate::Held) and [`Moment`](crate::Moment) stay valid in the next generation. For very
//! many fixed-size ids, [`flat`] writes and reads them as one piece.

use postcard::ser_flavors::Flavor;
use serde::{Deserialize, Serialize};

use crate::{emission, moment};

pub mod flat;

/// Returns a state as bytes, for [`snapshot`](crate::Plugin::snapshot).
///
/// If a state cannot be written (an iterator of unknown length, an error of a `Serialize` written
/// by hand), the collector logs an error, and the next generation begins without it.
pub fn to_bytes<S: Serialize + ?Sized>(state: &S) -> Option<Vec<u8>> {
    match moment::at_one_moment(|| postcard::serialize_with_flavor(state, Bytes(Vec::new()))) {
        Ok(bytes) => Some(bytes),
        Err(error) => {
            crate::error!("the state cannot be written: {error}");
            None
        }
    }
}

/// The buffer that a state is written to. It copies small parts byte by byte: a copy whose length
/// the compiler does not know is a call out of WebAssembly, and ten of these for each of many
/// entries add up.
struct Bytes(Vec<u8>);

/// The longest part, in bytes, for which a loop is faster than a call.
const SMALL: usize = 32;

impl Flavor for Bytes {
    type Output = Vec<u8>;

    #[inline]
    fn try_push(&mut self, byte: u8) -> postcard::Result<()> {
        self.0.push(byte);
        Ok(())
    }

    #[inline]
    fn try_extend(&mut self, part: &[u8]) -> postcard::Result<()> {
        if part.len() > SMALL {
            self.0.extend_from_slice(part);
        } else {
            for &byte in part {
                self.0.push(byte);
            }
        }
        Ok(())
    }

    fn finalize(self) -> postcard::Result<Vec<u8>> {
        Ok(self.0)
    }
}

/// Reads a state from these bytes, whole or not at all, for [`restore`](crate::Plugin::restore).
///
/// No length in the bytes is trusted: allocations are bounded by the bytes that are there. Handles
/// from a state that turns out to be damaged are invalid, and destroying them has no effect.
///
/// # Errors
/// Returns one line that says how the bytes are damaged.
pub fn from_bytes<'s, S: Deserialize<'s>>(bytes: &'s [u8]) -> Result<S, String> {
    let count = emission::count();
    let read = moment::at_one_moment(|| read(bytes));
    if read.is_err() {
        emission::forget_since(count);
    }
    read
}

fn read<'s, S: Deserialize<'s>>(bytes: &'s [u8]) -> Result<S, String> {
    match postcard::take_from_bytes(bytes) {
        Ok((state, [])) => Ok(state),
        Ok((_, [_, ..])) => Err("the state goes on after its end".to_owned()),
        Err(postcard::Error::DeserializeUnexpectedEnd) => {
            Err("the state ends too early".to_owned())
        }
        Err(error) => Err(format!("the state is damaged: {error}")),
    }
}

/// Returns the error of [`restore`](crate::Plugin::restore) for a version that it does not know.
/// `own` is the plugin's own version, the newest one.
pub fn unreadable(version: u32, own: u32) -> String {
    if version > own {
        format!("state version {version} is newer than {own}, the newest that this plugin reads")
    } else {
        format!("state version {version} is not read any more: this plugin's is {own}")
    }
}

#[cfg(test)]
mod tests;
