//! Finds the backend by the Collector's rules for endpoints and TLS.

use std::sync::atomic::AtomicU32;

use http::Uri;
use http::uri::{Authority, Scheme};
use rustls::pki_types::ServerName;

use super::connection::Connector;
use super::pool::Target;
use super::tls::Tls;
use super::{ExporterConfig, ExporterError};

/// Returns the backend to send to, the connector for it, and the origin that requests name.
pub(crate) fn read(config: &ExporterConfig) -> Result<(Target, Connector, Uri), ExporterError> {
    let bad_endpoint = || ExporterError::Endpoint {
        endpoint: config.endpoint.clone(),
    };
    let uri = uri(&config.endpoint, config.tls.insecure).ok_or_else(bad_endpoint)?;
    let shown = uri.to_string().trim_end_matches('/').to_owned();
    let origin = origin(config, &uri)?;
    let is_secure = uri.scheme() == Some(&Scheme::HTTPS);
    let host = uri.host().unwrap_or_default();
    let target = Target {
        host: host
            .trim_start_matches('[')
            .trim_end_matches(']')
            .to_owned(),
        port: uri.port_u16().unwrap_or(if is_secure { 443 } else { 80 }),
        shown,
    };
    let tls = if is_secure {
        if config.tls.cert_file.is_some() != config.tls.key_file.is_some() {
            let message = "`cert_file` and `key_file` are needed together";
            return Err(ExporterError::TlsSettings(message));
        }
        Some(Tls::new(
            &config.tls,
            name(config, &origin)?,
            &target.shown,
        )?)
    } else {
        None
    };
    let connector = Connector {
        timeout: config.timeout,
        keepalive: config.keepalive,
        doubled: AtomicU32::new(0),
        tls,
    };
    Ok((target, connector, origin))
}

/// Returns the origin that requests name: as in gRPC, `authority`, or else the name that the
/// certificate must have, or else the endpoint.
fn origin(config: &ExporterConfig, uri: &Uri) -> Result<Uri, ExporterError> {
    let wanted = config.authority.as_ref();
    let Some(wanted) = wanted.or(config.tls.server_name_override.as_ref()) else {
        return Ok(uri.clone());
    };
    let not_one = || ExporterError::Authority {
        authority: wanted.clone(),
    };
    let authority: Authority = wanted.parse().map_err(|_| not_one())?;
    // The part before an `@`, such as a password, would be readable in every request.
    if authority.as_str().contains('@') {
        return Err(not_one());
    }
    let mut parts = uri.clone().into_parts();
    parts.authority = Some(authority);
    Uri::from_parts(parts).map_err(|_| not_one())
}

/// Returns the name that the certificate must have, which is also the one that is asked for (SNI).
fn name(config: &ExporterConfig, origin: &Uri) -> Result<ServerName<'static>, ExporterError> {
    let host = origin.host().unwrap_or_default();
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let name = config.tls.server_name_override.as_deref().unwrap_or(bare);
    ServerName::try_from(name.to_owned()).map_err(|_| ExporterError::Authority {
        authority: name.to_owned(),
    })
}

/// Parses an endpoint. A scheme decides about TLS; without one, TLS is used unless the config says
/// insecure.
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

    /// The Collector's rules hold: a scheme decides about TLS, and without one TLS is used unless
    /// the config says otherwise.
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
