//! Cuts a request into parts, and joins requests.

pub(crate) mod by_size;
pub(crate) mod by_trace;
pub(crate) mod join;
pub(crate) mod part;
