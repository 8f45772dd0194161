//! The default behaviour of a guest, and the numbers of the contract by name.

use std::marker::PhantomData;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::bindings::exports::spandrel::plugin::{lifecycle, traces};
pub use crate::bindings::spandrel::plugin::host;
pub use crate::bindings::spandrel::plugin::types::{
    Dispatch, DrainReason, Emission, Level, Manifest, Reads, Reply, Signal, State,
};

/// The verdict that keeps an item.
pub const KEEP: u8 = 0;
/// The verdict that holds an item.
pub const HOLD: u8 = 1;
/// The verdict that drops an item with the first reason.
pub const DROP: u8 = 2;
/// The outcome that forwards a held item.
pub const FORWARD: u64 = 0;
/// The operation that sets a span's name.
pub const SET_NAME: u32 = 2;

impl Default for Reply {
    /// Keeps everything as it came.
    fn default() -> Self {
        Self {
            verdicts: Vec::new(),
            edits: Vec::new(),
            blob: Vec::new(),
            emission: None,
            reads: None,
        }
    }
}

impl Default for Emission {
    /// Emits nothing.
    fn default() -> Self {
        Self {
            released: Vec::new(),
            edits: Vec::new(),
            blob: Vec::new(),
            created: Vec::new(),
        }
    }
}

/// A well-behaved plugin. A guest overrides the function in which it misbehaves.
pub trait Behave {
    /// Accepts any config.
    fn configure(_config: String) -> Result<Manifest, String> {
        Ok(manifest())
    }
    /// Keeps everything.
    fn process(_ticket: u64, _batch: Vec<u8>) -> Reply {
        Reply::default()
    }
    /// Treats a projection as a batch.
    fn process_projected(ticket: u64, batch: Vec<u8>) -> Reply {
        Self::process(ticket, batch)
    }
    /// Releases nothing.
    fn tick() -> Emission {
        Emission::default()
    }
    /// Releases nothing.
    fn drain(_reason: DrainReason, _deadline_ms: u64) -> Emission {
        Emission::default()
    }
    /// Returns no state.
    fn snapshot() -> Option<State> {
        None
    }
    /// Refuses every state.
    fn restore(_state: State) -> Result<(), String> {
        Err("no state to take over".to_owned())
    }
}

/// Makes a manifest that asks for nothing.
pub fn manifest() -> Manifest {
    Manifest {
        name: String::new(),
        version: "1.0.0".to_owned(),
        dispatch: Dispatch::Any,
        tick_interval_ms: 0,
        state_version: 0,
        holds: false,
        drop_reasons: vec!["test".to_owned()],
        signals: vec![Signal::Traces],
    }
}

/// Returns the only number in a config such as `{ "call": 1000 }`.
pub fn number(config: &str) -> Option<u64> {
    let digits: String = config.chars().filter(char::is_ascii_digit).collect();
    digits.parse().ok()
}

/// Returns the second word of a released item.
pub fn release(index: usize, outcome: u64) -> u64 {
    index as u64 | outcome << 32
}

/// Runs for ever, in a loop that no compiler removes.
pub fn spin() -> ! {
    let mut turns = 0_u64;
    loop {
        turns = std::hint::black_box(turns.wrapping_add(1));
    }
}

/// Locks the mutex, even if a holder panicked.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Counts the spans of a request: field 2 (spans) of field 2 (scopes) of field 1 (resources).
pub fn count_spans(request: &[u8]) -> usize {
    let scopes = fields(request, 1).flat_map(|resource| fields(resource, 2));
    scopes.map(|scope| fields(scope, 2).count()).sum()
}

/// Returns the length-delimited fields with this number in a message that the host has validated.
fn fields(mut message: &[u8], wanted: u64) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        while !message.is_empty() {
            let tag = varint(&mut message);
            let length = match tag & 7 {
                0 => {
                    varint(&mut message);
                    0
                }
                1 => 8,
                5 => 4,
                _ => usize::try_from(varint(&mut message)).ok()?,
            };
            let (value, rest) = message.split_at_checked(length)?;
            message = rest;
            if tag == wanted << 3 | 2 {
                return Some(value);
            }
        }
        None
    })
}

fn varint(message: &mut &[u8]) -> u64 {
    let mut value = 0;
    let mut shift = 0;
    while let Some((byte, rest)) = message.split_first() {
        *message = rest;
        value |= u64::from(byte & 0x7f).unbounded_shl(shift);
        shift += 7;
        if byte & 0x80 == 0 {
            break;
        }
    }
    value
}

/// The name of a guest, which is that of its file.
#[doc(hidden)]
pub trait Named {
    /// The name.
    const NAME: &'static str;
}

/// Exports a guest.
#[doc(hidden)]
#[derive(Debug)]
pub struct Adapter<T>(PhantomData<T>);

impl<T: Behave + Named> lifecycle::Guest for Adapter<T> {
    fn configure(config: String) -> Result<Manifest, String> {
        let manifest = T::configure(config)?;
        Ok(Manifest {
            name: T::NAME.to_owned(),
            ..manifest
        })
    }

    fn tick() -> Emission {
        T::tick()
    }

    fn drain(reason: DrainReason, deadline_ms: u64) -> Emission {
        T::drain(reason, deadline_ms)
    }

    fn snapshot() -> Option<State> {
        T::snapshot()
    }

    fn restore(state: State) -> Result<(), String> {
        T::restore(state)
    }
}

impl<T: Behave + Named> traces::Guest for Adapter<T> {
    fn process(ticket: u64, batch: Vec<u8>, projected: bool) -> Reply {
        if projected {
            T::process_projected(ticket, batch)
        } else {
            T::process(ticket, batch)
        }
    }
}

/// Makes a component from a type that implements [`Behave`].
#[macro_export]
macro_rules! guest {
    ($guest:ty) => {
        impl $crate::Named for $guest {
            const NAME: &'static str = env!("CARGO_CRATE_NAME");
        }
        type Exported = $crate::Adapter<$guest>;
        $crate::bindings::export_plugin!(Exported);
    };
}
