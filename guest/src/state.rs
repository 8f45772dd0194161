//! The state that goes from one generation of a plugin to the next, as compact bytes of whatever
//! serde can write.
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
//! [`Held`](crate::Held) and [`Moment`](crate::Moment) keep their meaning in the next generation. Where
//! there are very many fixed-size ids, [`flat`] writes and reads them as one piece.

use postcard::ser_flavors::Flavor;
use serde::{Deserialize, Serialize};

use crate::{emission, moment};

pub mod flat;

/// The bytes of a state, for [`snapshot`](crate::Plugin::snapshot).
///
/// A state that cannot be written (an iterator of unknown length, an error of a `Serialize` written
/// by hand) is an error in the collector's log, and the next generation begins without it.
pub fn to_bytes<S: Serialize + ?Sized>(state: &S) -> Option<Vec<u8>> {
    match moment::at_one_moment(|| postcard::serialize_with_flavor(state, Bytes(Vec::new()))) {
        Ok(bytes) => Some(bytes),
        Err(error) => {
            crate::error!("the state cannot be written: {error}");
            None
        }
    }
}

/// Where a state is written. A small part is copied byte by byte: a copy of a length that the compiler
/// does not know is a call out of WebAssembly, and ten of these for each of many entries add up.
struct Bytes(Vec<u8>);

/// Up to here a loop is quicker than a call.
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

/// The state out of these bytes, whole or not at all, for [`restore`](crate::Plugin::restore).
///
/// No length in the bytes is believed: what is allocated is bounded by what is there. Handles out
/// of a state that turns out to be damaged have no meaning, and say nothing as they go.
///
/// # Errors
/// One line that says how the bytes are damaged.
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

/// What [`restore`](crate::Plugin::restore) says to a version that it does not know: `own` is the
/// plugin's own, the newest one.
pub fn unreadable(version: u32, own: u32) -> String {
    if version > own {
        format!("state version {version} is newer than {own}, the newest that this plugin reads")
    } else {
        format!("state version {version} is not read any more: this plugin's is {own}")
    }
}

#[cfg(test)]
mod tests;
