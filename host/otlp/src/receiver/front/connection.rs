//! The beginning of one connection: handshake, and the protocol by its first bytes.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tracing::debug;

use super::connection_limit::ConnectionSlot;
use super::handler::RequestHandler;
use super::http_server::HttpServer;
use super::preface::Preface;
use super::protocol_log::ProtocolLog;
use super::shutdown::Shutdown;
use super::stats::ConnectionStats;
use super::tls::Certificates;
use super::wrong_protocol::{self, Protocol, WrongProtocol};
use crate::receiver::settings::ConnectionSettings;

/// The time that a client may take for the TLS handshake. Real clients send its parts at once.
const HANDSHAKE_LIMIT: Duration = Duration::from_secs(5);

/// The state that the connections of a port share, without the handler of their requests.
#[derive(Debug)]
pub(crate) struct Front {
    pub(crate) settings: ConnectionSettings,
    pub(crate) tls: Option<Certificates>,
    pub(crate) shutdown: Shutdown,
    pub(crate) stats: Arc<ConnectionStats>,
    pub(crate) protocol_log: Arc<ProtocolLog>,
}

/// The connections of a port: the state that all of them share.
#[derive(Debug)]
pub(crate) struct Connections<H> {
    front: Front,
    server: HttpServer<H>,
}

impl<H: RequestHandler> Connections<H> {
    pub(crate) fn new(front: Front, handler: Arc<H>) -> Self {
        let server = HttpServer::new(handler, front.settings, front.shutdown.clone());
        Self { front, server }
    }

    pub(super) fn stats(&self) -> &ConnectionStats {
        &self.front.stats
    }

    /// Ends the requests that still run, and returns when they have ended.
    pub(crate) async fn cut_requests(&self) {
        self.server.cut_requests().await;
    }

    /// Serves one connection to its end.
    pub(super) async fn run(&self, stream: TcpStream, peer: SocketAddr, slot: ConnectionSlot) {
        let _open = self.front.stats.count_open();
        let opened = tokio::select! {
            opened = self.open(stream, peer, &slot) => opened,
            () = slot.evicted.cancelled() => {
                debug!(%peer, "idle connection closed to make room for another");
                return;
            }
        };
        if let Err(error) = opened {
            self.front.stats.count_failure();
            debug!(%peer, error = &error as &dyn std::error::Error, "connection failed");
        }
    }

    async fn open(
        &self,
        stream: TcpStream,
        peer: SocketAddr,
        slot: &ConnectionSlot,
    ) -> io::Result<()> {
        // Answers are small and awaited: they must not wait for more to be sent with them.
        stream.set_nodelay(true)?;
        match &self.front.tls {
            None => self.greet(stream, peer, slot).await,
            Some(tls) => {
                let begins_tls = tokio::select! {
                    begins = in_time(HANDSHAKE_LIMIT, begins_tls(&stream)) => begins?,
                    () = self.front.shutdown.draining() => return Ok(()),
                };
                if !begins_tls {
                    return self.turn_away_plain(stream, peer).await;
                }
                let accepting = TlsAcceptor::from(tls.current()).accept(stream);
                let accepted = tokio::select! {
                    accepted = in_time(HANDSHAKE_LIMIT, accepting) => accepted,
                    () = self.front.shutdown.draining() => return Ok(()),
                };
                if let Err(error) = &accepted
                    && error.kind() == io::ErrorKind::InvalidData
                {
                    self.front.protocol_log.record_handshake(error, peer);
                }
                self.greet(accepted?, peer, slot).await
            }
        }
    }

    /// Turns away a client that does not begin with TLS where it should.
    async fn turn_away_plain(&self, stream: TcpStream, peer: SocketAddr) -> io::Result<()> {
        match self.first_bytes(stream).await? {
            None => {}
            Some(Preface::Http2(stream)) => {
                let stream = stream.into_inner();
                self.turn_away(Protocol::Http2, true, stream, peer).await;
            }
            Some(Preface::Http1(_, stream)) => {
                self.turn_away(Protocol::Http1, true, stream, peer).await;
            }
            Some(Preface::Other(protocol, stream)) => {
                self.turn_away(protocol, true, stream, peer).await;
            }
        }
        Ok(())
    }

    /// Counts a client of another protocol, names it in the log, and answers it.
    async fn turn_away<T>(&self, protocol: Protocol, has_tls: bool, stream: T, peer: SocketAddr)
    where
        T: AsyncRead + AsyncWrite + Unpin,
    {
        let takes_http1 = self.front.settings.http1.is_some();
        let Some(wrong) = WrongProtocol::new(protocol, has_tls, takes_http1) else {
            return;
        };
        self.front.stats.count_failure();
        let log = &self.front.protocol_log;
        log.record(wrong, peer);
        let words = log.guide().remedy(wrong);
        tokio::select! {
            () = wrong.farewell(&words, stream) => {}
            () = self.front.shutdown.draining() => {}
        }
    }

    /// Reads the first bytes; `None` if the receiver is stopping.
    async fn first_bytes<T>(&self, stream: T) -> io::Result<Option<Preface<T>>>
    where
        T: AsyncRead + AsyncWrite + Unpin,
    {
        let settings = &self.front.settings;
        let preface = Preface::read(stream, settings.write_limit);
        tokio::select! {
            preface = in_time(settings.first_bytes_limit, preface) => preface.map(Some),
            () = self.front.shutdown.draining() => Ok(None),
        }
    }

    async fn greet<T>(&self, stream: T, peer: SocketAddr, slot: &ConnectionSlot) -> io::Result<()>
    where
        T: AsyncRead + AsyncWrite + Unpin,
    {
        match (self.first_bytes(stream).await?, self.front.settings.http1) {
            (None, _) => {}
            (Some(Preface::Http2(stream)), _) => self.server.serve_http2(stream, peer, slot).await,
            (Some(Preface::Http1(first, stream)), Some(http1)) => {
                let stream = (first, stream);
                self.server.serve_http1(stream, http1, peer, slot).await;
            }
            (Some(Preface::Http1(_, stream)), None) => {
                self.turn_away(Protocol::Http1, false, stream, peer).await;
            }
            (Some(Preface::Other(protocol, stream)), _) => {
                self.turn_away(protocol, false, stream, peer).await;
            }
        }
        Ok(())
    }
}

/// Returns true if a client begins a TLS handshake. Looks at its first byte and leaves it unread.
async fn begins_tls(stream: &TcpStream) -> io::Result<bool> {
    let mut first = [0];
    match stream.peek(&mut first).await? {
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        _ => Ok(first == [wrong_protocol::TLS]),
    }
}

async fn in_time<T>(
    limit: Duration,
    handshake: impl Future<Output = io::Result<T>>,
) -> io::Result<T> {
    timeout(limit, handshake)
        .await
        .unwrap_or_else(|late| Err(late.into()))
}
