//! Makes ten million spans of two bytes for each batch.

use spandrel_test_guests::*;

struct Guest;

guest!(Guest);

/// The number of spans without a field, in one scope of one resource.
const SPANS: usize = 10_000_000;

impl Behave for Guest {
    fn process(_: u64, _: Vec<u8>) -> Reply {
        let mut created = vec![0x0a];
        let scope = 2 * SPANS;
        length(&mut created, scope + 1 + digits(scope));
        created.push(0x12);
        length(&mut created, scope);
        created.resize(created.len() + scope, 0);
        for span in created.iter_mut().rev().skip(1).step_by(2).take(SPANS) {
            *span = 0x12;
        }
        Reply {
            emission: Some(Emission {
                created,
                ..Emission::default()
            }),
            ..Reply::default()
        }
    }
}

fn length(out: &mut Vec<u8>, mut length: usize) {
    while length >= 0x80 {
        out.push(length.to_le_bytes()[0] | 0x80);
        length >>= 7;
    }
    out.push(length.to_le_bytes()[0]);
}

/// Returns the number of bytes that a length takes.
fn digits(length: usize) -> usize {
    (usize::BITS - length.leading_zeros()).div_ceil(7) as usize
}
