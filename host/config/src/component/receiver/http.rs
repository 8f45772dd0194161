//! `protocols::http` of the receiver `otlp`.

use std::time::Duration;

use spandrel_otlp::compression::Compression;
use spandrel_otlp::receiver::{Cors, HttpConfig, SignalPaths};

use crate::component::authenticators::Authenticators;
use crate::component::headers;
use crate::component::net::{Listen, read_server_tls};
use crate::text::section::Section;

/// The longest request that can be configured: as on gRPC.
const MAX_BODY_BYTES: u64 = 1 << 30;

/// The headers that a response has by itself. Others would break it.
const OWN_HEADERS: [&str; 4] = [
    "connection",
    "content-length",
    "content-type",
    "transfer-encoding",
];

pub(super) fn read(http: &Section<'_>, authenticators: &Authenticators<'_>) -> HttpConfig {
    let default = HttpConfig::new(Listen::read(http, 4318).to_string());
    http.choice("transport", (), &[("tcp", ())]);
    let max_request_body_size = read_body_size(http, default.max_request_body_size);
    for key in ["include_metadata", "include_tls_metadata", "middlewares"] {
        http.not_offered(key, "remove it");
    }
    HttpConfig {
        paths: read_paths(http),
        max_request_body_size,
        max_in_flight_bytes: read_in_flight(http, max_request_body_size, &default),
        compressions: read_compressions(http, default.compressions),
        cors: read_cors(http),
        response_headers: headers::read(http.section("response_headers"), |name| {
            !OWN_HEADERS.contains(&name)
        }),
        read_header_timeout: limit(http, "read_header_timeout", default.read_header_timeout),
        read_timeout: limit(http, "read_timeout", default.read_timeout),
        write_timeout: limit(http, "write_timeout", default.write_timeout),
        idle_timeout: limit(http, "idle_timeout", default.idle_timeout),
        keep_alives_enabled: http.boolean("keep_alives_enabled", default.keep_alives_enabled),
        tls: read_server_tls(http),
        auth: authenticators.server(http),
        ..default
    }
}

/// Returns a time that has always a limit here. In the Collector, 0 means none.
fn limit(http: &Section<'_>, key: &'static str, default: Duration) -> Duration {
    let time = http.duration(key, default);
    if time.is_zero() {
        let what = format!("there is always a limit here: {default:?} counts");
        http.warn_key(key, &what, "write a time, or remove it");
        return default;
    }
    time
}

fn read_body_size(http: &Section<'_>, default: usize) -> usize {
    let bytes = http.size("max_request_body_size", default as u64, 0);
    if bytes > MAX_BODY_BYTES {
        let what = "more than 1GiB";
        http.wrong_key("max_request_body_size", what, "write at most 1GiB");
    }
    match usize::try_from(bytes) {
        // As in the Collector.
        Ok(0) | Err(_) => default,
        Ok(bytes) => bytes,
    }
}

fn read_in_flight(http: &Section<'_>, longest: usize, default: &HttpConfig) -> usize {
    let longest_mib = longest.div_ceil(1 << 20);
    let default = (default.max_in_flight_bytes >> 20).max(longest_mib);
    let mib = http.integer("max_in_flight_mib", default, 1..=1_048_576);
    if mib < longest_mib {
        let instead = format!("write at least {longest_mib}, for max_request_body_size");
        let what = "the largest request would never fit";
        http.wrong_key("max_in_flight_mib", what, instead);
    }
    mib << 20
}

fn read_paths(http: &Section<'_>) -> SignalPaths {
    let default = SignalPaths::default();
    let read = |text: &str| match text.parse::<http::uri::PathAndQuery>() {
        Ok(path) if path.query().is_none() && path.path().starts_with('/') => {
            Ok(path.path().to_owned())
        }
        _ => Err("write a path such as /v1/traces".to_owned()),
    };
    let paths = SignalPaths {
        traces: http.parsed_or("traces_url_path", "path of a URL", default.traces, read),
        metrics: http.parsed_or("metrics_url_path", "path of a URL", default.metrics, read),
        logs: http.parsed_or("logs_url_path", "path of a URL", default.logs, read),
    };
    if paths.traces == paths.metrics || paths.traces == paths.logs || paths.metrics == paths.logs {
        let what = "two signals have one path";
        http.wrong(what, "give each signal a path of its own");
    }
    paths
}

fn read_compressions(http: &Section<'_>, default: Vec<Compression>) -> Vec<Compression> {
    let read = |text: &str| match text {
        // Uncompressed requests, which are always taken.
        "" | "none" => Ok(Compression::None),
        "gzip" => Ok(Compression::Gzip),
        "zstd" => Ok(Compression::Zstd),
        "deflate" | "zlib" => Ok(Compression::Deflate),
        _ => Err("write gzip, zstd, deflate or zlib: there are no others here".to_owned()),
    };
    let mut read = http.parsed_list("compression_algorithms", "encoding", read);
    if http.node("compression_algorithms").is_none() {
        return default;
    }
    read.retain(|compression| *compression != Compression::None);
    read
}

fn read_cors(http: &Section<'_>) -> Option<Cors> {
    let cors = http.section("cors");
    let texts = |key: &'static str, notation| {
        let texts = cors.texts(key, notation).into_iter();
        texts.map(|(text, _)| text.to_owned()).collect::<Vec<_>>()
    };
    let allowed_origins = cors.parsed_list("allowed_origins", "origin", read_origin);
    let read = Cors {
        allowed_headers: texts("allowed_headers", "header"),
        exposed_headers: cors.parsed_list("exposed_headers", "header", read_header_name),
        max_age: cors.integer("max_age", 0, 0..=86_400),
        allowed_origins,
    };
    if read.allowed_origins.is_empty() {
        let what = "no origin is allowed, so nothing of it is used";
        http.warn_key("cors", what, "add `allowed_origins`, or remove it");
        return None;
    }
    Some(read)
}

fn read_origin(text: &str) -> Result<String, String> {
    let stars = text.bytes().filter(|byte| *byte == b'*').count();
    let is_origin = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
    if stars > 1 || !is_origin || text.ends_with('/') {
        let instead = "write an origin such as https://shop.example, with one `*` at most";
        return Err(instead.to_owned());
    }
    Ok(text.to_owned())
}

fn read_header_name(text: &str) -> Result<String, String> {
    let name = http::HeaderName::from_bytes(text.as_bytes());
    name.map(|name| name.to_string())
        .map_err(|_| "write the name of a header".to_owned())
}
