//! The record of clients that speak another protocol than the port: a count, and a line in the log
//! for one of each kind a minute.

use std::error::Error;
use std::net::SocketAddr;
use std::sync::Arc;

use tracing::warn;

use super::log_limit::LogLimit;
use super::port_guide::PortGuide;
use super::stats::ConnectionStats;
use super::wrong_protocol::WrongProtocol;

/// Counts clients of wrong protocols, and names them in the log, one of each kind a minute.
#[derive(Debug)]
pub(crate) struct ProtocolLog {
    kinds: [LogLimit; WrongProtocol::KINDS],
    stats: Arc<ConnectionStats>,
    /// The address on which the receiver listens.
    endpoint: SocketAddr,
    guide: PortGuide,
}

impl ProtocolLog {
    pub(crate) fn new(stats: Arc<ConnectionStats>, endpoint: SocketAddr, guide: PortGuide) -> Self {
        Self {
            kinds: Default::default(),
            stats,
            endpoint,
            guide,
        }
    }

    pub(crate) fn endpoint(&self) -> SocketAddr {
        self.endpoint
    }

    pub(crate) fn guide(&self) -> PortGuide {
        self.guide
    }

    fn due(&self, kind: WrongProtocol) -> Option<u64> {
        self.kinds.get(kind as usize)?.due()
    }

    /// Records that this client spoke another protocol.
    pub(crate) fn record(&self, kind: WrongProtocol, peer: SocketAddr) {
        self.stats.count_wrong_protocol(kind);
        if let Some(repeated) = self.due(kind) {
            let (endpoint, spoke) = (self.endpoint, kind.name());
            let remedy = &*self.guide.remedy(kind);
            warn!(%endpoint, %peer, spoke, remedy, repeated, "client speaks another protocol than this port");
        }
    }

    /// Records why the TLS handshake with this client failed.
    pub(crate) fn record_handshake(&self, error: &(dyn Error + 'static), peer: SocketAddr) {
        let kind = WrongProtocol::Handshake;
        self.stats.count_wrong_protocol(kind);
        if let Some(repeated) = self.due(kind) {
            let endpoint = self.endpoint;
            let remedy = &*self.guide.remedy(kind);
            warn!(%endpoint, %peer, error, remedy, repeated, "TLS handshake failed");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::receiver::transport::Transport;

    /// Each kind has its own lines.
    #[tokio::test(start_paused = true)]
    async fn each_kind_is_named() {
        let endpoint = SocketAddr::from(([127, 0, 0, 1], 4317));
        let log = ProtocolLog::new(
            Arc::default(),
            endpoint,
            PortGuide::new(Transport::Grpc, None),
        );
        for (number, kind) in WrongProtocol::ALL.into_iter().enumerate() {
            assert_eq!(kind as usize, number);
            assert_eq!(log.due(kind), Some(0));
            assert_eq!(log.due(kind), None);
        }
    }
}
