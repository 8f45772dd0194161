//! The fault behind a failed call: the kind that is counted, and one line for the operator.

use std::time::Duration;

use spandrel_pipeline::stage::{Fault, FaultKind};
use spandrel_supply::{InstanceLimits, text};
use wasmtime::Trap;
use wasmtime_wasi::I32Exit;

use crate::store::Guest;

/// The text of a wasmtime error whose type is private; a test checks the text.
const HOSTCALL_FUEL: &str = "fuel allocated for hostcalls has been exhausted";

/// Returns the fault behind a call that wasmtime ended.
pub(crate) fn of(
    error: &wasmtime::Error,
    guest: &Guest,
    limits: &InstanceLimits,
    deadline: Duration,
) -> Fault {
    if let Some(Trap::Interrupt) = error.downcast_ref() {
        return past(deadline);
    }
    if error.root_cause().to_string().contains(HOSTCALL_FUEL) {
        return reply_too_large(limits.reply_bytes);
    }
    let limiter = guest.limiter();
    if let Some(wanted) = limiter.denied_bytes() {
        let message = format!(
            "asked for {} KiB of memory, the limit is {} KiB",
            wanted.div_ceil(1024),
            limiter.memory_bytes() >> 10
        );
        return Fault::new(FaultKind::Memory, message);
    }
    Fault::new(FaultKind::Trap, describe(error, guest))
}

/// Makes the fault of a call that ran, or slept, past its deadline.
pub(crate) fn past(deadline: Duration) -> Fault {
    let message = format!("ran past its deadline of {} ms", deadline.as_millis());
    Fault::new(FaultKind::Deadline, message)
}

/// Makes the fault of a reply with more bytes than a stage's limit.
pub(crate) fn reply_too_large(limit: usize) -> Fault {
    let message = format!("gave the host more than {} KiB at once", limit >> 10);
    Fault::new(FaultKind::BadReply, message)
}

fn describe(error: &wasmtime::Error, guest: &Guest) -> String {
    if let Some(I32Exit(status)) = error.downcast_ref() {
        return format!("called exit({status})");
    }
    if let Some(panic) = guest.panic_message() {
        return panic;
    }
    let root = error.root_cause().to_string();
    text::printable(root.trim_start_matches("wasm trap: "), text::MESSAGE_BYTES)
}
