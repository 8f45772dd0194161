//! The targets, one module each.

pub(crate) mod http1;
pub(crate) mod http2;
pub(crate) mod journal;
pub(crate) mod json;
pub(crate) mod oracle;
pub(crate) mod projection;
pub(crate) mod reply;
mod server;
pub(crate) mod splice;
pub(crate) mod split;
pub(crate) mod validate;
