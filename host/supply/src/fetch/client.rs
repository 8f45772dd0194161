//! Sends one request, with limits on where it goes, what it returns and how long that takes.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::{self, HeaderName, HeaderValue};
use http::{HeaderMap, Request, Response};
use http_body::Body as _;
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use crate::fetch::address::is_public;
use crate::fetch::error::FetchError;
use crate::fetch::resolve::Resolve;
use crate::fetch::settings::FetchSettings;
use crate::fetch::source::Url;

/// The number of redirects that are followed. 2: a registry redirects to its store, and that
/// perhaps to a region.
const REDIRECTS: usize = 2;
/// The time that one address has to answer, so that one that swallows everything leaves time for
/// the next.
const CONNECT: Duration = Duration::from_secs(10);
/// The number of addresses of one name that are tried.
const ADDRESSES: usize = 4;
/// The number of headers in an answer: hyper's own limit. All of them together may have 64 KiB.
const HEADERS: usize = 100;
const HEADER_BYTES: usize = 64 << 10;

/// The answer to a request.
#[derive(Debug)]
pub(crate) struct GetResponse {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    /// The body. It is empty unless the status is a success.
    pub(crate) body: Bytes,
}

/// A request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct GetRequest<'a> {
    pub(crate) url: &'a Url,
    pub(crate) accept: &'a str,
    /// The value for `authorization`, which is sent to the host of `url` and no other.
    pub(crate) authorization: Option<&'a str>,
    pub(crate) limit_bytes: u64,
}

/// Sends requests.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) settings: FetchSettings,
    pub(crate) resolver: Arc<dyn Resolve>,
    pub(crate) tls: Arc<rustls::ClientConfig>,
}

impl Client {
    /// Sends a request and follows redirects. A status that is not a success is returned as an
    /// answer.
    pub(crate) async fn get(&self, request: GetRequest<'_>) -> Result<GetResponse, FetchError> {
        let mut url = request.url.clone();
        for _ in 0..=REDIRECTS {
            let authorization = request
                .authorization
                .filter(|_| url.has_origin_of(request.url));
            let response = self.ask(&url, request.accept, authorization).await?;
            let Some(next) = self.redirect(&url, &response.0)? else {
                return self.whole(&url, response, request.limit_bytes).await;
            };
            tracing::debug!(from = %url, to = %next, "redirected");
            url = next;
        }
        Err(FetchError::Redirect {
            name: request.url.to_string(),
            problem: "more than two redirects",
        })
    }

    /// Returns the address that an answer redirects to, if it redirects.
    fn redirect(
        &self,
        url: &Url,
        response: &Response<Incoming>,
    ) -> Result<Option<Url>, FetchError> {
        if !matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308) {
            return Ok(None);
        }
        let wrong = |problem| FetchError::Redirect {
            name: url.to_string(),
            problem,
        };
        let location = response.headers().get(header::LOCATION);
        let location = location.and_then(|location| location.to_str().ok());
        let next = location.and_then(|location| url.follow(location));
        let next = next.ok_or_else(|| wrong("a redirect without a good address"))?;
        if url.is_secure && !next.is_secure {
            return Err(wrong("a redirect from https to http"));
        }
        Ok(Some(next))
    }

    /// Sends one request to a host that may be asked, at an address that was checked.
    async fn ask(
        &self,
        url: &Url,
        accept: &str,
        authorization: Option<&str>,
    ) -> Result<(Response<Incoming>, Driver), FetchError> {
        let stream = self.connect(url).await?;
        let broken = |source| FetchError::Broken {
            host: url.host.clone(),
            source,
        };
        let mut request = Request::get(url.path.as_str())
            .header(header::HOST, url.authority())
            .header(
                header::USER_AGENT,
                concat!("spandrel/", env!("CARGO_PKG_VERSION")),
            )
            .header(header::ACCEPT, accept)
            .header(header::ACCEPT_ENCODING, "identity")
            .header(header::CONNECTION, "close");
        if let Some(authorization) = authorization {
            let mut value = HeaderValue::from_str(authorization).map_err(http::Error::from)?;
            value.set_sensitive(true);
            request = request.header(header::AUTHORIZATION, value);
        }
        let request = request.body(Empty::<Bytes>::new())?;
        let (mut sender, connection) = hyper::client::conn::http1::Builder::new()
            .max_headers(HEADERS)
            .max_buf_size(HEADER_BYTES)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(broken)?;
        let mut driver: Driver = Box::pin(connection);
        let mut sent = std::pin::pin!(sender.send_request(request));
        let response = tokio::select! {
            response = &mut sent => response,
            ended = &mut driver => match ended {
                Ok(()) => sent.await,
                Err(error) => Err(error),
            },
        };
        Ok((response.map_err(broken)?, driver))
    }

    async fn connect(&self, url: &Url) -> Result<Box<dyn Stream>, FetchError> {
        let addresses = self.addresses(url).await?;
        let mut last = io::Error::other("the name has no address");
        for address in addresses.into_iter().take(ADDRESSES) {
            let address = SocketAddr::new(address, url.port);
            match timeout(CONNECT, self.connect_to(url, address)).await {
                Ok(Ok(stream)) => return Ok(stream),
                Ok(Err(error)) => last = error,
                Err(_) => last = io::Error::new(io::ErrorKind::TimedOut, "no answer"),
            }
        }
        Err(FetchError::Connect {
            host: url.authority(),
            source: last,
        })
    }

    async fn connect_to(&self, url: &Url, address: SocketAddr) -> io::Result<Box<dyn Stream>> {
        let stream = TcpStream::connect(address).await?;
        if !url.is_secure {
            return Ok(Box::new(stream));
        }
        let name = ServerName::try_from(url.host.clone()).map_err(io::Error::other)?;
        let tls = TlsConnector::from(Arc::clone(&self.tls));
        Ok(Box::new(tls.connect(name, stream).await?))
    }

    /// Returns the addresses of a host that may be asked. It is resolved once: the connection goes
    /// to one of these addresses, whatever a name server says a moment later.
    async fn addresses(&self, url: &Url) -> Result<Vec<IpAddr>, FetchError> {
        self.settings.may_ask_at(url)?;
        let allow_private = &self.settings.allow_private;
        let found = match url.host.parse() {
            Ok(address) => Ok(vec![address]),
            Err(_) => self.resolver.resolve(&url.host).await,
        };
        let found = found.map_err(|source| FetchError::Resolve {
            host: url.host.clone(),
            source,
        })?;
        let is_allowed = |address: &IpAddr| {
            is_public(*address)
                || allow_private
                    .iter()
                    .any(|network| network.contains(*address))
        };
        let (allowed, private): (Vec<_>, Vec<_>) = found.into_iter().partition(is_allowed);
        match private.first() {
            Some(address) if allowed.is_empty() => Err(FetchError::Private {
                host: url.host.clone(),
                address: *address,
            }),
            _ => Ok(allowed),
        }
    }

    /// Reads the body, and counts its bytes as they arrive.
    async fn whole(
        &self,
        url: &Url,
        (response, mut driver): (Response<Incoming>, Driver),
        limit_bytes: u64,
    ) -> Result<GetResponse, FetchError> {
        let (parts, body) = response.into_parts();
        let mut response = GetResponse {
            status: parts.status.as_u16(),
            headers: parts.headers,
            body: Bytes::new(),
        };
        if !parts.status.is_success() {
            return Ok(response);
        }
        if let Some(encoding) = text(&response.headers, header::CONTENT_ENCODING)
            && encoding != "identity"
        {
            return Err(FetchError::Answer {
                name: url.to_string(),
                problem: "it comes compressed, though nobody asked for that".to_owned(),
            });
        }
        let too_large = || FetchError::TooLarge {
            name: url.to_string(),
            limit_bytes,
        };
        if body.size_hint().lower() > limit_bytes {
            return Err(too_large());
        }
        let reading = async {
            let mut body = body;
            let mut read = BytesMut::new();
            while let Some(frame) = body.frame().await {
                let Ok(data) = frame?.into_data() else {
                    continue;
                };
                let length = read.len().saturating_add(data.len());
                if u64::try_from(length).unwrap_or(u64::MAX) > limit_bytes {
                    return Ok(None);
                }
                read.extend_from_slice(&data);
            }
            Ok(Some(read.freeze()))
        };
        let mut reading = std::pin::pin!(reading);
        let read = tokio::select! {
            read = &mut reading => read,
            // Data that has arrived can still be read after the connection has ended.
            _ = &mut driver => reading.await,
        };
        let read = read.map_err(|source| FetchError::Broken {
            host: url.host.clone(),
            source,
        })?;
        response.body = read.ok_or_else(too_large)?;
        Ok(response)
    }
}

/// Returns a header's value, if it is text.
pub(crate) fn text(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    headers.get(name)?.to_str().ok()
}

/// The future that drives the connection.
type Driver = std::pin::Pin<Box<dyn Future<Output = hyper::Result<()>> + Send>>;

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}
