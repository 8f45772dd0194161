//! The admin API: a server that shows a running collector and passes changes on to it, and a client
//! of that server. The shapes of both are in [`spandrel_collector::report`].
//!
//! [`web`] is the HTTP server of the whole program; probes and scrapes use it, too.

#![forbid(unsafe_code)]

mod bind_error;
pub mod client;
pub mod server;
mod socket;
mod token;
pub mod web;

pub use self::bind_error::BindError;
