//! The floor: bytes from one connection are copied to another, unread.

use std::net::SocketAddr;

use anyhow::{Context as _, Result};
use tokio::io::copy_bidirectional_with_sizes;
use tokio::net::{TcpListener, TcpStream};
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;

/// The size of one write of a batch of 512 spans.
const BUFFER: usize = 512 << 10;
/// The most connections at once. It is more than the bench opens; further ones wait in the kernel.
const CONNECTIONS: usize = 1024;

/// Copies until SIGTERM.
pub(crate) fn run(listen: &str, backend: &str) -> Result<()> {
    let backend: SocketAddr = backend.parse().context("the backend is host:port")?;
    let runtime = tokio::runtime::Runtime::new()?;
    runtime.block_on(async {
        let listener = TcpListener::bind(listen).await?;
        let mut terminated = signal(SignalKind::terminate())?;
        let mut pumps = JoinSet::new();
        loop {
            tokio::select! {
                accepted = listener.accept(), if pumps.len() < CONNECTIONS => {
                    pumps.spawn(pump(accepted?.0, backend));
                }
                Some(_) = pumps.join_next() => {}
                _ = terminated.recv() => return Ok(()),
            }
        }
    })
}

async fn pump(mut client: TcpStream, backend: SocketAddr) -> std::io::Result<()> {
    let mut backend = TcpStream::connect(backend).await?;
    client.set_nodelay(true)?;
    backend.set_nodelay(true)?;
    copy_bidirectional_with_sizes(&mut client, &mut backend, BUFFER, BUFFER).await?;
    Ok(())
}
