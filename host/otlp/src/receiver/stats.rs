//! The counters of a receiver. The pipeline counts items, in its ledger.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use spandrel_wire::GRPC_CODES;
use tonic::Code;

use super::front::ConnectionStats;

/// Counters of one receiver, read at any time.
#[derive(Debug, Default)]
pub struct ReceiverStats {
    requests: [AtomicU64; GRPC_CODES.len()],
    received_bytes: AtomicU64,
    connections: Arc<ConnectionStats>,
}

impl ReceiverStats {
    /// Returns the number of requests answered with this gRPC code, given by its number.
    pub fn requests(&self, code: i32) -> u64 {
        usize::try_from(code)
            .ok()
            .and_then(|code| self.requests.get(code))
            .map_or(0, |count| count.load(Ordering::Relaxed))
    }

    /// Returns the codes that requests were answered with so far, by name, and the count of each.
    pub fn answers(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let counts = self
            .requests
            .iter()
            .map(|count| count.load(Ordering::Relaxed));
        GRPC_CODES
            .into_iter()
            .zip(counts)
            .filter(|(_, count)| *count > 0)
    }

    /// Returns the bytes of requests, as they came over the wire.
    pub fn received_bytes(&self) -> u64 {
        self.received_bytes.load(Ordering::Relaxed)
    }

    /// Returns the number of connections that are open now.
    pub fn open_connections(&self) -> u64 {
        self.connections.open()
    }

    /// Returns the number of connections accepted so far.
    pub fn connections(&self) -> u64 {
        self.connections.accepted()
    }

    /// Returns the number of connections that never came to HTTP as the port speaks it: over the
    /// limit, a failed handshake, another protocol.
    pub fn failed_connections(&self) -> u64 {
        self.connections.failed()
    }

    /// Returns the other protocols that clients spoke so far, by name, and how many clients did.
    /// Among them, HTTP/2 requests that are not gRPC are counted one by one, and do not end their
    /// connection.
    pub fn wrong_protocols(&self) -> impl Iterator<Item = (&'static str, u64)> {
        self.connections.wrong_protocols()
    }

    /// Returns the counters of the connections.
    pub(crate) fn of_connections(&self) -> Arc<ConnectionStats> {
        Arc::clone(&self.connections)
    }

    pub(crate) fn count_answer(&self, code: Code) {
        let count = usize::try_from(i32::from(code)).ok();
        if let Some(count) = count.and_then(|code| self.requests.get(code)) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(crate) fn count_received(&self, bytes: usize) {
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        self.received_bytes.fetch_add(bytes, Ordering::Relaxed);
    }
}
