//! The items that a stage's plugin holds: the bytes stay here, the plugin keeps (ticket, index).

mod batch;
mod forward;
mod offer;
mod release;
mod table;

pub(super) use self::release::check_words;
pub(super) use self::table::{HeldTable, Settlement};
