//! Ports that a test writes into a config before anything listens there.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Result, bail};

/// The first port. The range is below the ports that the system assigns when a program asks for any
/// port (from 32768 on, unless `ip_local_port_range` was changed), so no other test gets one of
/// them meanwhile.
const FIRST: u32 = 12_000;
const COUNT: u32 = 20_000;

/// The number of ports that this process has given out.
static GIVEN: AtomicU32 = AtomicU32::new(0);

/// Returns an address of the loopback interface that is free, and that this process gives out once.
///
/// # Errors
/// Returns an error if every port is taken.
pub fn free_address() -> Result<SocketAddr> {
    // Another test process begins at another port.
    let begin = std::process::id().wrapping_mul(101);
    for _ in 0..COUNT {
        let turn = begin.wrapping_add(GIVEN.fetch_add(1, Ordering::Relaxed));
        let port = u16::try_from(FIRST + turn % COUNT)?;
        if let Ok(listener) = TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
            return Ok(listener.local_addr()?);
        }
    }
    bail!("no port from {FIRST} on is free")
}
