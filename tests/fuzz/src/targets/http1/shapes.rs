//! Requests of HTTP/1.1, chosen by the bytes.

use crate::dice::Dice;

const PATHS: [&str; 4] = ["/v1/traces", "/v1/metrics", "/v1/logs", "/nobody"];
const TYPES: [&str; 4] = [
    "application/x-protobuf",
    "application/json",
    "text/plain",
    "application/grpc",
];
const ENCODINGS: [&str; 5] = ["identity", "gzip", "zstd", "deflate", "br"];

/// A request that must not be answered: it stands where a body might end.
const SMUGGLED: &str = "GET /smuggled HTTP/1.1\r\nhost: a\r\n\r\n";

/// Makes requests of which nothing is wrong but what they ask for. Returns their number. The last one ends the
/// connection.
pub(super) fn sound(dice: &mut Dice) -> (usize, Vec<u8>) {
    let count = 1 + dice.roll(4);
    let mut wire = Vec::new();
    for number in 1..=count {
        let mut dice = dice.fork(100);
        let body = body(&mut dice);
        wire.extend(start(&mut dice).into_bytes());
        if number == count {
            wire.extend(b"connection: close\r\n");
        }
        if dice.once_in(2) {
            wire.extend(format!("content-length: {}\r\n\r\n", body.len()).into_bytes());
            wire.extend(body);
        } else {
            wire.extend(b"transfer-encoding: chunked\r\n\r\n");
            wire.extend(chunked(&mut dice, &body));
        }
    }
    (count, wire)
}

/// Makes a request of which something may be wrong, with another one behind it.
pub(super) fn broken(dice: &mut Dice) -> Vec<u8> {
    let mut wire = start(dice).into_bytes();
    let body = body(dice);
    let length = body.len();
    for _ in 0..=dice.roll(2) {
        match dice.roll(8) {
            0 => wire.extend(format!("content-length: {length}\r\n").into_bytes()),
            1 => wire.extend(format!("content-length: {}\r\n", dice.roll(100)).into_bytes()),
            2 => wire.extend(b"transfer-encoding: chunked\r\n"),
            3 => wire.extend(b"transfer-encoding: chunked, identity\r\n"),
            4 => wire.extend(format!("content-length: {}\r\n", dice.text()).into_bytes()),
            5 => wire.extend(format!("{}: {}\r\n", dice.text(), dice.text()).into_bytes()),
            6 => wire.extend(b"expect: 100-continue\r\n"),
            _ => wire.extend(dice.bytes(20)),
        }
    }
    wire.extend(b"\r\n");
    let sent = if dice.once_in(2) {
        chunked(dice, &body)
    } else {
        body
    };
    wire.extend(sent);
    if dice.once_in(3) && !wire.is_empty() {
        let place = dice.roll(wire.len());
        wire[place] = dice.byte();
    }
    wire.extend(SMUGGLED.bytes());
    wire
}

fn start(dice: &mut Dice) -> String {
    let path = PATHS[dice.roll(PATHS.len())];
    let method = if dice.once_in(6) { "PUT" } else { "POST" };
    let mut head = format!("{method} {path} HTTP/1.1\r\nhost: a\r\n");
    head.push_str(&format!(
        "content-type: {}\r\n",
        TYPES[dice.roll(TYPES.len())]
    ));
    if dice.once_in(3) {
        let encoding = ENCODINGS[dice.roll(ENCODINGS.len())];
        head.push_str(&format!("content-encoding: {encoding}\r\n"));
    }
    head
}

fn body(dice: &mut Dice) -> Vec<u8> {
    match dice.roll(4) {
        0 => dice.bytes(60),
        1 => vec![0x0a, 4, 0x12, 2, 0x12, 0],
        2 => b"{\"resourceSpans\":[]}".to_vec(),
        _ => Vec::new(),
    }
}

fn chunked(dice: &mut Dice, body: &[u8]) -> Vec<u8> {
    let mut wire = Vec::new();
    let length = 1 + dice.roll(20);
    for chunk in body.chunks(length) {
        wire.extend(format!("{:x}\r\n", chunk.len()).into_bytes());
        wire.extend_from_slice(chunk);
        wire.extend_from_slice(b"\r\n");
    }
    wire.extend_from_slice(b"0\r\n\r\n");
    wire
}
