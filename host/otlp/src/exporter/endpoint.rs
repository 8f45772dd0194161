//! The connection to the backend, by the Collector's rules for endpoints and TLS.

use std::sync::Arc;

use http::Uri;
use http::uri::{Authority, Scheme};
use hyper_util::client::legacy::connect::HttpConnector;
use rustls::pki_types::ServerName;
use tonic::transport::{Channel, Endpoint};
use tower::service_fn;

use super::tls::Connector;
use super::{ExporterConfig, ExporterError};

/// Attempts that may wait for the connection; the pipeline has its own limit, far below.
const WAITING_ATTEMPTS: usize = 1024;

/// The endpoint as it is shown, and its connection, which is made on first use.
pub(crate) fn connect_lazily(config: &ExporterConfig) -> Result<(String, Channel), ExporterError> {
    let bad_endpoint = || ExporterError::Endpoint {
        endpoint: config.endpoint.clone(),
    };
    let uri = uri(&config.endpoint, config.tls.insecure).ok_or_else(bad_endpoint)?;
    let shown = uri.to_string().trim_end_matches('/').to_owned();
    let connection = |source| ExporterError::Connection {
        endpoint: config.endpoint.clone(),
        source,
    };
    let origin = origin(config, &uri)?;
    let secure = uri.scheme() == Some(&Scheme::HTTPS);
    // TLS is our connector's: tonic is told of a plain connection.
    let endpoint = with_scheme(&uri, Scheme::HTTP).ok_or_else(bad_endpoint)?;
    let mut endpoint = Endpoint::from(endpoint)
        .origin(origin.clone())
        .user_agent(config.user_agent.clone())
        .map_err(connection)?
        .connect_timeout(config.timeout)
        .buffer_size(WAITING_ATTEMPTS);
    if let Some(keepalive) = config.keepalive {
        endpoint = endpoint
            .http2_keep_alive_interval(keepalive.time)
            .keep_alive_timeout(keepalive.timeout)
            .keep_alive_while_idle(keepalive.permit_without_stream);
    }
    if !secure {
        return Ok((shown, endpoint.connect_lazy()));
    }
    if config.tls.cert_file.is_some() != config.tls.key_file.is_some() {
        let message = "`cert_file` and `key_file` are needed together";
        return Err(ExporterError::TlsSettings(message));
    }
    let connector = Connector::new(&config.tls, tcp(config), name(config, &origin)?, &shown)?;
    let connector = Arc::new(connector);
    let connect = service_fn(move |mut uri: Uri| {
        let connector = Arc::clone(&connector);
        // Without a port, TLS has another one than plain text.
        uri = with_port(&uri, 443).unwrap_or(uri);
        async move { connector.connect(uri).await }
    });
    Ok((shown, endpoint.connect_with_connector_lazy(connect)))
}

fn tcp(config: &ExporterConfig) -> HttpConnector {
    let mut tcp = HttpConnector::new();
    tcp.set_nodelay(true);
    tcp.set_connect_timeout(Some(config.timeout));
    tcp
}

/// What requests say that they want to reach: as in gRPC, `authority`, or else the name that the
/// certificate must have, or else where they go.
fn origin(config: &ExporterConfig, uri: &Uri) -> Result<Uri, ExporterError> {
    let wanted = config.authority.as_ref();
    let Some(wanted) = wanted.or(config.tls.server_name_override.as_ref()) else {
        return Ok(uri.clone());
    };
    let not_one = || ExporterError::Authority {
        authority: wanted.clone(),
    };
    let authority: Authority = wanted.parse().map_err(|_| not_one())?;
    // What stands before an `@` would be sent in plain sight.
    if authority.as_str().contains('@') {
        return Err(not_one());
    }
    let mut parts = uri.clone().into_parts();
    parts.authority = Some(authority);
    Uri::from_parts(parts).map_err(|_| not_one())
}

/// The name that the certificate must have, which is also the one that is asked for (SNI).
fn name(config: &ExporterConfig, origin: &Uri) -> Result<ServerName<'static>, ExporterError> {
    let host = origin.host().unwrap_or_default();
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let name = config.tls.server_name_override.as_deref().unwrap_or(bare);
    ServerName::try_from(name.to_owned()).map_err(|_| ExporterError::Authority {
        authority: name.to_owned(),
    })
}

fn with_scheme(uri: &Uri, scheme: Scheme) -> Option<Uri> {
    let mut parts = uri.clone().into_parts();
    parts.scheme = Some(scheme);
    Uri::from_parts(parts).ok()
}

fn with_port(uri: &Uri, port: u16) -> Option<Uri> {
    if uri.port().is_some() {
        return None;
    }
    let mut parts = uri.clone().into_parts();
    parts.authority = format!("{}:{port}", uri.host()?).parse().ok();
    Uri::from_parts(parts).ok()
}

/// A scheme decides by itself; without one it is TLS, unless the config says insecure.
fn uri(endpoint: &str, insecure: bool) -> Option<Uri> {
    let uri: Uri = if endpoint.contains("://") {
        endpoint.parse().ok()?
    } else {
        let scheme = if insecure { "http" } else { "https" };
        format!("{scheme}://{endpoint}").parse().ok()?
    };
    let known = matches!(uri.scheme_str(), Some("http" | "https"));
    let bare = matches!(uri.path(), "" | "/") && uri.query().is_none();
    let named = uri.host().is_some_and(|host| !host.is_empty());
    (known && bare && named).then_some(uri)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The Collector's rules: a scheme decides, and without one it is TLS unless told otherwise.
    #[test]
    fn the_scheme_decides_about_tls() {
        for (endpoint, insecure, shown) in [
            ("http://backend:4317", false, Some("http://backend:4317/")),
            ("https://backend:4317", true, Some("https://backend:4317/")),
            ("backend:4317", false, Some("https://backend:4317/")),
            ("backend:4317", true, Some("http://backend:4317/")),
            ("[::1]:4317", true, Some("http://[::1]:4317/")),
            ("ftp://backend:21", false, None),
            ("http://backend:4317/v1/traces", false, None),
            ("", false, None),
            ("http://", false, None),
        ] {
            let found = uri(endpoint, insecure).map(|uri| uri.to_string());
            assert_eq!(found.as_deref(), shown, "{endpoint}");
        }
    }
}
