//! Ports that a test writes into a config before anybody listens there.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Result, bail};

/// Below those that the system hands out to whoever asks for any port (from 32768 on, unless somebody
/// has set `ip_local_port_range`), so that no other test comes to have it meanwhile.
const FIRST: u32 = 12_000;
const COUNT: u32 = 20_000;

/// How many were given out by this process.
static GIVEN: AtomicU32 = AtomicU32::new(0);

/// An address of the loopback interface that nobody has, and that this process gives out once.
///
/// # Errors
/// When every port is taken.
pub fn free_address() -> Result<SocketAddr> {
    // Another test process begins somewhere else.
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
