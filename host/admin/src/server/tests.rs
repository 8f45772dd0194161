//! Tests the API on real sockets, in front of a fake control.

mod admitting;
mod changing;
mod limits;
mod quarantine;
mod reading;
pub(crate) mod setup;
