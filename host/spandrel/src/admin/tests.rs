//! The API on real sockets, in front of a control that only answers.

mod admitting;
mod changing;
mod limits;
mod reading;
pub(crate) mod setup;
