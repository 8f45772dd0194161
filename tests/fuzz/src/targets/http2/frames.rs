//! HTTP/2 frames, mostly of gRPC calls, chosen by the bytes.

use crate::dice::Dice;

pub(super) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

const PATHS: [&str; 6] = [
    "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
    "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export",
    "/opentelemetry.proto.collector.logs.v1.LogsService/Export",
    "/grpc.health.v1.Health/Check",
    "/grpc.health.v1.Health/Watch",
    "/nobody",
];

/// Makes the preface, settings, and some frames.
pub(super) fn of(bytes: &[u8]) -> Vec<u8> {
    let mut dice = Dice::new(bytes.to_vec());
    let mut out = PREFACE.to_vec();
    frame(&mut out, 4, 0, 0, &[]);
    for number in 0..=dice.roll(8) {
        one(
            &mut dice.fork(120),
            u32::try_from(number).unwrap_or(0),
            &mut out,
        );
    }
    out
}

fn one(dice: &mut Dice, number: u32, out: &mut Vec<u8>) {
    let stream = if dice.once_in(5) {
        u32::from(dice.byte())
    } else {
        2 * number + 1
    };
    match dice.roll(10) {
        0..=4 => call(dice, stream, out),
        5 => frame(out, 3, 0, stream, &8_u32.to_be_bytes()),
        6 => {
            let settings = dice.bytes(18);
            frame(out, 4, dice.byte() & 1, 0, &settings);
        }
        7 => frame(out, 6, dice.byte() & 1, 0, &[0; 8]),
        8 => {
            let increment = small(dice).to_be_bytes();
            frame(out, 8, 0, stream, &increment);
        }
        _ => {
            let payload = dice.bytes(60);
            frame(out, dice.byte() % 12, dice.byte(), stream, &payload);
        }
    }
}

/// Makes the headers of a call, perhaps in pieces, and its messages.
fn call(dice: &mut Dice, stream: u32, out: &mut Vec<u8>) {
    let path = PATHS[dice.roll(PATHS.len())];
    let mut block = vec![0x83, 0x86];
    header(&mut block, ":path", path);
    header(&mut block, ":authority", "collector");
    header(&mut block, "te", "trailers");
    header(&mut block, "content-type", "application/grpc");
    match dice.roll(8) {
        0 => header(&mut block, "grpc-encoding", "gzip"),
        1 => header(&mut block, "grpc-encoding", "zstd"),
        2 => header(&mut block, "grpc-encoding", &dice.text()),
        3 => header(&mut block, "grpc-timeout", &dice.text()),
        4 => header(&mut block, &dice.text(), &dice.text()),
        5 => block.extend(dice.bytes(20)),
        _ => {}
    }
    if dice.once_in(6) {
        let (first, second) = block.split_at(dice.roll(block.len()));
        frame(out, 1, 0, stream, first);
        frame(out, 9, 4, stream, second);
    } else {
        frame(out, 1, 4, stream, &block);
    }
    for _ in 0..dice.roll(3) {
        let body = message(dice);
        let cut = if dice.once_in(4) {
            dice.roll(body.len())
        } else {
            0
        };
        frame(out, 0, 0, stream, &body[..cut]);
        frame(out, 0, dice.byte() & 1, stream, &body[cut..]);
    }
    frame(out, 0, 1, stream, &[]);
}

/// Makes a gRPC message: a flag for compression, its length, and about that many bytes.
fn message(dice: &mut Dice) -> Vec<u8> {
    let mut body = match dice.roll(4) {
        0 => dice.bytes(60),
        1 => vec![0x0a, 4, 0x12, 2, 0x12, 0],
        // Zeros, compressed with gzip and with zstd.
        2 => vec![
            0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3, 0x63, 0x60, 0, 0, 0x69, 0xf, 0x1e, 0x41, 2, 0, 0, 0,
        ],
        _ => vec![0x28, 0xb5, 0x2f, 0xfd, 0x20, 2, 0x11, 0, 0, 0, 0],
    };
    if dice.once_in(3) && !body.is_empty() {
        let place = dice.roll(body.len());
        body[place] = dice.byte();
    }
    let length = if dice.once_in(6) {
        small(dice)
    } else {
        u32::try_from(body.len()).unwrap_or(0)
    };
    let mut message = vec![if dice.once_in(4) {
        dice.byte()
    } else {
        dice.byte() & 1
    }];
    message.extend(length.to_be_bytes());
    message.extend(body);
    message
}

fn small(dice: &mut Dice) -> u32 {
    u32::try_from(dice.word() & 0x7fff_ffff).unwrap_or(0)
}

/// Writes a header that is neither indexed nor compressed.
fn header(block: &mut Vec<u8>, name: &str, value: &str) {
    block.push(0);
    for text in [name, value] {
        // A longer text would need a length of more than one byte; a cut one serves as well.
        let text = &text.as_bytes()[..text.len().min(126)];
        block.push(u8::try_from(text.len()).unwrap_or(0));
        block.extend_from_slice(text);
    }
}

fn frame(out: &mut Vec<u8>, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
    let length = u32::try_from(payload.len()).unwrap_or(0).to_be_bytes();
    out.extend_from_slice(&length[1..]);
    out.extend_from_slice(&[kind, flags]);
    out.extend_from_slice(&stream.to_be_bytes());
    out.extend_from_slice(payload);
}
