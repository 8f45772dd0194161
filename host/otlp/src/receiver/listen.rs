//! Takes a port.

use std::io;
use std::net::SocketAddr;

use tokio::net::{TcpListener, lookup_host};

/// Listens on host:port as Go does: no host means every interface, and a name means its first
/// address, IPv4 before IPv6. It never tries the next address: where `localhost` is both, a second
/// program would otherwise silently get the other half of the clients.
///
/// # Errors
/// Returns the cause, with the address.
pub async fn listen(endpoint: &str) -> io::Result<TcpListener> {
    let Some(port) = endpoint.strip_prefix(':') else {
        let mut addresses: Vec<SocketAddr> = lookup_host(endpoint).await?.collect();
        addresses.sort_by_key(SocketAddr::is_ipv6);
        let first = addresses.first().ok_or(io::ErrorKind::AddrNotAvailable)?;
        return TcpListener::bind(first)
            .await
            .map_err(|error| io::Error::new(error.kind(), format!("{first}: {error}")));
    };
    match TcpListener::bind(format!("[::]:{port}")).await {
        // The machine may have no IPv6.
        Err(error) if error.kind() != io::ErrorKind::AddrInUse => {
            TcpListener::bind(format!("0.0.0.0:{port}")).await
        }
        bound => bound,
    }
}
