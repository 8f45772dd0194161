//! Resolves names to addresses.

use std::fmt;
use std::io;
use std::net::SocketAddr;

use futures_util::future::BoxFuture;

/// Looks names up. The default asks the system, as every other program does.
pub trait Resolve: Send + Sync + fmt::Debug {
    /// Returns the addresses of a host, each with this port, in the order in which to try them.
    fn resolve<'a>(
        &'a self,
        host: &'a str,
        port: u16,
    ) -> BoxFuture<'a, io::Result<Vec<SocketAddr>>>;
}

/// The system's resolver: its hosts file and its name servers.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemResolver;

impl Resolve for SystemResolver {
    fn resolve<'a>(
        &'a self,
        host: &'a str,
        port: u16,
    ) -> BoxFuture<'a, io::Result<Vec<SocketAddr>>> {
        Box::pin(async move { Ok(tokio::net::lookup_host((host, port)).await?.collect()) })
    }
}
