//! Checks the bytes of a request: [`validate`](validate::validate) all of it at once,
//! [`valid_items`] item by item. The [`schema`] is the table that both read.

pub(crate) mod findings;
pub(crate) mod ids;
pub(crate) mod invalid;
pub(crate) mod limits;
pub(crate) mod location;
pub(crate) mod schema;
pub(crate) mod text;
pub(crate) mod valid_items;
pub(crate) mod validate;
