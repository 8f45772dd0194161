//! Any bytes on a connection to the port of OTLP/HTTP: whole answers of HTTP/1.1 come back, and
//! the connection ends when its client is gone. Each well-formed request gets one answer, and bytes
//! behind its end get none.

mod shapes;

use spandrel_otlp::receiver::HttpConfig;

use super::server::Server;
use crate::dice::Dice;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

thread_local! {
    static SERVER: Server = Server::start(HttpConfig {
        max_request_body_size: 1 << 20,
        max_in_flight_bytes: 4 << 20,
        ..HttpConfig::new("127.0.0.1:0")
    });
}

/// Runs one input. Its first byte decides whether the rest are raw bytes, choices for well formed
/// requests, or choices for requests of which something is wrong.
pub(crate) fn run(input: &[u8]) {
    let Some((first, rest)) = input.split_first() else {
        return;
    };
    let mut dice = Dice::new(rest.to_vec());
    match first % 3 {
        0 => {
            let answer = SERVER.with(|server| server.answer(rest));
            // The port speaks HTTP/2, too, which is for another target.
            if !rest.starts_with(PREFACE) {
                answers(&answer);
            }
        }
        1 => {
            let (requests, wire) = shapes::sound(&mut dice);
            let answer = SERVER.with(|server| server.all_answers(&wire));
            let found = answers(&answer);
            assert_eq!(found, requests, "{}", String::from_utf8_lossy(&answer));
        }
        _ => {
            let wire = shapes::broken(&mut dice);
            answers(&SERVER.with(|server| server.answer(&wire)));
        }
    }
}

/// Returns the number of answers. Each has a status and a length, and the bytes that the length says;
/// only the last may be cut short, by a client that sends on after the end.
fn answers(mut wire: &[u8]) -> usize {
    let mut count = 0;
    while !wire.is_empty() {
        let Some(end) = wire.windows(4).position(|four| four == b"\r\n\r\n") else {
            return count;
        };
        let head = str::from_utf8(&wire[..end]).unwrap();
        wire = &wire[end + 4..];
        let (status, headers) = head.split_once("\r\n").unwrap_or((head, ""));
        let old = status.strip_prefix("HTTP/1.0 ");
        let code = status.strip_prefix("HTTP/1.1 ").or(old).unwrap();
        let code: u16 = code.split(' ').next().unwrap().parse().unwrap();
        assert!((100..600).contains(&code), "{status}");
        if code < 200 {
            continue;
        }
        let length = headers
            .split("\r\n")
            .find_map(|line| line.strip_prefix("content-length: "));
        let length: usize = length.map_or(0, |length| length.parse().unwrap());
        wire = wire.get(length..).unwrap_or_default();
        count += 1;
    }
    count
}
