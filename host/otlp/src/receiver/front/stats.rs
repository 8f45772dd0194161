//! The counters of a receiver's connections.

use std::sync::atomic::{AtomicU64, Ordering};

use super::wrong_protocol::WrongProtocol;

/// Counts connections, by what became of them.
#[derive(Debug, Default)]
pub(crate) struct ConnectionStats {
    open: AtomicU64,
    accepted: AtomicU64,
    failed: AtomicU64,
    wrong_protocols: [AtomicU64; WrongProtocol::KINDS],
}

impl ConnectionStats {
    /// Returns the number of connections that are open now.
    pub(crate) fn open(&self) -> u64 {
        self.open.load(Ordering::Relaxed)
    }

    /// Returns the number of connections accepted so far.
    pub(crate) fn accepted(&self) -> u64 {
        self.accepted.load(Ordering::Relaxed)
    }

    /// Returns the number of connections that never came to HTTP as the port speaks it.
    pub(crate) fn failed(&self) -> u64 {
        self.failed.load(Ordering::Relaxed)
    }

    /// Returns the wrong protocols that clients spoke so far, by name, and the count of each.
    pub(crate) fn wrong_protocols(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let counts = self.wrong_protocols.iter();
        WrongProtocol::ALL
            .into_iter()
            .map(WrongProtocol::name)
            .zip(counts.map(|count| count.load(Ordering::Relaxed)))
            .filter(|(_, count)| *count > 0)
    }

    pub(crate) fn count_wrong_protocol(&self, kind: WrongProtocol) {
        if let Some(count) = self.wrong_protocols.get(kind as usize) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(crate) fn count_failure(&self) {
        self.failed.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a connection as open for as long as the guard lives.
    pub(crate) fn count_open(&self) -> OpenConnection<'_> {
        self.accepted.fetch_add(1, Ordering::Relaxed);
        self.open.fetch_add(1, Ordering::Relaxed);
        OpenConnection(self)
    }
}

/// One open connection.
pub(crate) struct OpenConnection<'a>(&'a ConnectionStats);

impl Drop for OpenConnection<'_> {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}
