//! The API on real sockets, in front of a control that only answers.

mod admitting;
mod changing;
mod limits;
mod quarantine;
mod reading;
pub(crate) mod setup;
