//! Changes a request as a plugin's reply asks: verdicts and edits are checked whole, then applied in
//! one pass over the bytes.

pub(crate) mod assembler;
pub(crate) mod bad_reply;
pub(crate) mod edits;
pub(crate) mod held_items;
pub(crate) mod projection;
pub(crate) mod reads;
pub(crate) mod splice;
pub(crate) mod target_edits;
pub(crate) mod verdict;
