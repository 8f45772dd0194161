//! Parses the values of options.

use std::net::{SocketAddr, ToSocketAddrs as _};
use std::time::Duration;

use spandrel_bench::LoadLength;

/// Parses and resolves a host and a port.
pub(super) fn address(text: &str) -> Result<SocketAddr, String> {
    let found = text.to_socket_addrs().map_err(|error| error.to_string())?;
    let found: Vec<SocketAddr> = found.collect();
    let first = found
        .iter()
        .find(|address| address.is_ipv4())
        .or(found.first());
    first.copied().ok_or_else(|| "no such host".to_owned())
}

/// Parses a time with its unit.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || "write a time, such as 500ms, 10s or 2m".to_owned();
    let digits = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .ok_or_else(wrong)?;
    let (number, unit) = text.split_at(digits);
    let number: f64 = number.parse().map_err(|_| wrong())?;
    let unit = match unit {
        "ms" => 1e-3,
        "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        _ => return Err(wrong()),
    };
    Duration::try_from_secs_f64(number * unit).map_err(|_| wrong())
}

/// Parses a number of items, or a time.
pub(super) fn amount(text: &str) -> Result<LoadLength, String> {
    text.parse()
        .map(LoadLength::Items)
        .or_else(|_| duration(text).map(LoadLength::For))
}
