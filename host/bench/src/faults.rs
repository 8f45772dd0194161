//! Counts the failures of plugins, by the metrics of the collector under test.
//!
//! By default, a batch on which a plugin fails passes as it came. Such a run loses nothing, but its
//! cost is not that of the work that was to be measured. Only the collector knows, so it is asked
//! where it serves its metrics: on one of the ports on which its process listens.

use std::collections::BTreeSet;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::process::family;

/// The counter of failed calls, and the prefix of all metrics of this collector.
const FAULTS: &str = "spandrel_stage_faults_total";
const OURS: &str = "spandrel_";
/// The port of the Collector's metrics, which is asked first.
const METRICS_PORT: u16 = 8888;
/// The longest answer that is read: a collector with a thousand stages has some MiB of metrics.
const ANSWER_BYTES: u64 = 16 << 20;
/// The time that one port may take to answer.
const PATIENCE: Duration = Duration::from_secs(2);
/// The state of a socket that listens, in `/proc/net/tcp`.
const LISTENS: &str = "0A";

/// Returns the number of plugin calls that have failed since the collector started; `None` if it
/// serves no metrics, or others than these. `endpoint` takes the load, and is not asked.
pub(crate) async fn count(pid: u32, endpoint: SocketAddr) -> Option<u64> {
    let mut places = listening(pid);
    places.retain(|place| place.port() != endpoint.port());
    places.sort_by_key(|place| place.port() != METRICS_PORT);
    for place in places {
        let asked = tokio::time::timeout(PATIENCE, metrics(place)).await;
        if let Some(faults) = asked.ok().flatten().as_deref().and_then(sum) {
            return Some(faults);
        }
    }
    None
}

/// Requests metrics from an address, and returns the answer.
async fn metrics(place: SocketAddr) -> Option<String> {
    let mut stream = TcpStream::connect(place).await.ok()?;
    let request = format!("GET /metrics HTTP/1.1\r\nHost: {place}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.ok()?;
    let mut answer = Vec::new();
    let read = stream.take(ANSWER_BYTES).read_to_end(&mut answer).await;
    read.ok()?;
    String::from_utf8(answer).ok()
}

/// Returns the sum over all stages and kinds of fault; `None` if these are not our metrics.
fn sum(answer: &str) -> Option<u64> {
    let mut lines = answer.lines().filter(|line| line.starts_with(OURS));
    let first = lines.next()?;
    let values = std::iter::once(first).chain(lines).filter_map(|line| {
        let (series, value) = line.rsplit_once(' ')?;
        let name = series.split('{').next()?;
        (name == FAULTS)
            .then(|| value.parse::<u64>().ok())
            .flatten()
    });
    Some(values.sum())
}

/// Returns the addresses at which a process and all that it started listen for TCP, as they can be
/// reached from here; empty if the system does not say.
fn listening(pid: u32) -> Vec<SocketAddr> {
    let family = family(pid);
    let sockets: BTreeSet<String> = family.iter().flat_map(|pid| sockets(*pid)).collect();
    let tables = ["tcp", "tcp6"].map(|table| format!("/proc/{pid}/net/{table}"));
    let tables = tables.map(|table| fs::read_to_string(table).unwrap_or_default());
    let lines = tables.iter().flat_map(|table| table.lines());
    let places = lines.filter_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let is_ours = sockets.contains(*fields.get(9)?) && *fields.get(3)? == LISTENS;
        is_ours.then(|| place(fields.get(1)?)).flatten()
    });
    places.collect()
}

/// Returns the numbers of a process' sockets.
fn sockets(pid: u32) -> Vec<String> {
    let files = fs::read_dir(format!("/proc/{pid}/fd"))
        .into_iter()
        .flatten();
    let numbers = files.filter_map(|file| {
        let target = fs::read_link(file.ok()?.path()).ok()?;
        let number = target.to_str()?.strip_prefix("socket:[")?;
        Some(number.strip_suffix(']')?.to_owned())
    });
    numbers.collect()
}

/// Reads `0100007F:22B8`: the address in words of the machine's byte order, and the port.
fn place(text: &str) -> Option<SocketAddr> {
    let (address, port) = text.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let word = |index: usize| {
        let digits = address.get(index * 8..index * 8 + 8)?;
        Some(u32::from_str_radix(digits, 16).ok()?.to_ne_bytes())
    };
    let address: IpAddr = if address.len() == 8 {
        Ipv4Addr::from(word(0)?).into()
    } else {
        let words = [word(0)?, word(1)?, word(2)?, word(3)?];
        let bytes: [u8; 16] = words.concat().try_into().ok()?;
        Ipv6Addr::from(bytes).to_canonical()
    };
    let reached = match address {
        IpAddr::V4(v4) if v4.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(v6) if v6.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        address => address,
    };
    Some((reached, port).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A listener of this process is found, on both families of addresses.
    #[test]
    fn listeners_are_found() {
        let v4 = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let any = std::net::TcpListener::bind("0.0.0.0:0").expect("a port");
        let found = listening(std::process::id());
        assert!(found.contains(&v4.local_addr().expect("an address")));
        let reached = (
            Ipv4Addr::LOCALHOST,
            any.local_addr().expect("an address").port(),
        );
        assert!(found.contains(&reached.into()), "{found:?}");
        if let Ok(v6) = std::net::TcpListener::bind("[::1]:0") {
            let found = listening(std::process::id());
            assert!(
                found.contains(&v6.local_addr().expect("an address")),
                "{found:?}"
            );
        }
    }

    /// Faults of all stages and kinds are summed; other programs' metrics give no count.
    #[test]
    fn faults_are_summed() {
        let ours = concat!(
            "HTTP/1.1 200 OK\r\n\r\n",
            "# TYPE spandrel_stage_faults_total counter\n",
            "spandrel_stage_faults_total{stage=\"a b\",fault=\"trap\"} 3\n",
            "spandrel_stage_faults_total{stage=\"c\",fault=\"memory\"} 40\n",
            "spandrel_stage_faults_totals 900\n",
        );
        assert_eq!(sum(ours), Some(43));
        assert_eq!(sum("spandrel_build_info{version=\"1\"} 1\n"), Some(0));
        assert_eq!(sum("otelcol_process_uptime 3\n"), None);
        assert_eq!(sum("HTTP/1.1 404 Not Found\r\n\r\n"), None);
    }
}
