//! Requests of several resources and scopes, large enough to be projected.

use bytes::Bytes;
use rand::Rng;
use rand::rngs::StdRng;
use spandrel_wire::{
    write_bytes, write_fixed64, write_key_value, write_nested, write_text, write_varint_field,
};

use super::KEYS;

/// Makes a request of one to three resources with one to three scopes each, some of them empty.
pub(super) fn request(rng: &mut StdRng) -> Bytes {
    let mut out = Vec::new();
    for _ in 0..rng.random_range(1..4) {
        write_nested(&mut out, 1, |out| resource(out, rng));
    }
    out.into()
}

fn resource(out: &mut Vec<u8>, rng: &mut StdRng) {
    write_nested(out, 1, |out| {
        attribute(out, 1, "service.name", "shop");
        if rng.random_bool(0.2) {
            attribute(out, 1, "doom", KEYS[rng.random_range(0..KEYS.len())]);
        }
    });
    for _ in 0..rng.random_range(1..4) {
        let spans = [0, 1, 20, 40][rng.random_range(0..4)];
        write_nested(out, 2, |out| {
            write_nested(out, 1, |out| write_text(out, 1, "library"));
            for _ in 0..spans {
                let number = rng.random();
                write_nested(out, 2, |out| span(out, number));
            }
        });
    }
}

/// Writes a span that this number describes.
pub(super) fn span(out: &mut Vec<u8>, number: u64) {
    let bit = |at: u32| number >> at & 1 == 1;
    write_bytes(out, 1, &u128::from(number | 1).to_be_bytes());
    write_bytes(out, 2, &(number | 1).to_be_bytes());
    write_text(out, 5, &format!("span {}", number % 10));
    write_varint_field(out, 6, number % 6);
    write_fixed64(out, 7, number);
    for (key, at) in KEYS.iter().zip(0..) {
        if bit(at) {
            attribute(
                out,
                9,
                key,
                ["", "y", "long enough", "z"][(number >> 8) as usize % 4],
            );
        }
        if bit(at + 16) {
            let padding = "a value that nobody reads, which is what most of a span is";
            attribute(out, 9, &format!("other.{at}"), padding);
        }
    }
    if bit(30) {
        write_nested(out, 11, |out| write_text(out, 2, "event"));
    }
}

fn attribute(out: &mut Vec<u8>, field: u32, key: &str, value: &str) {
    write_nested(out, field, |out| write_key_value(out, key, value));
}
