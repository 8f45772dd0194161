//! Changes bytes and sections of a component.

use rand::Rng as _;
use rand::rngs::StdRng;

/// The length of a component's header.
const HEADER: usize = 8;

/// Returns a plugin with a change. In half of the cases it is anywhere, in half in its code, where
/// most changes are still valid.
pub(super) fn of(rng: &mut StdRng, good: &[u8]) -> Vec<u8> {
    let mut bytes = good.to_vec();
    let (first, end) = if rng.random() {
        code(good)
    } else {
        (HEADER, bytes.len())
    };
    match rng.random_range(0..10) {
        0 => swap_sections(rng, &mut bytes),
        1 => {
            let from = rng.random_range(HEADER..bytes.len());
            let to = (from + rng.random_range(1..40)).min(bytes.len());
            bytes.drain(from..to);
        }
        2 => {
            let from = rng.random_range(HEADER..bytes.len());
            let to = (from + rng.random_range(1..40)).min(bytes.len());
            let copy = bytes[from..to].to_vec();
            let place = rng.random_range(HEADER..bytes.len());
            bytes.splice(place..place, copy);
        }
        _ => {
            for _ in 0..rng.random_range(1..4) {
                let place = rng.random_range(first..end);
                bytes[place] = match rng.random_range(0..4) {
                    0 => rng.random(),
                    1 => bytes[place].wrapping_add(1),
                    2 => [0, 1, 0x7f, 0x80, 0xff][rng.random_range(0..5)],
                    _ => bytes[place] ^ 1 << rng.random_range(0..8),
                };
            }
        }
    }
    bytes
}

/// Returns the place of the first module of a component, without its own header.
fn code(component: &[u8]) -> (usize, usize) {
    let mut first = HEADER;
    for section in sections(component) {
        if section[0] == 1 {
            // Skips the section's number and length and the module's header.
            return (first + 16, first + section.len());
        }
        first += section.len();
    }
    (HEADER, component.len())
}

/// Swaps two sections of the component.
fn swap_sections(rng: &mut StdRng, bytes: &mut Vec<u8>) {
    let mut sections = sections(bytes);
    if sections.len() < 2 {
        return;
    }
    let (one, other) = (
        rng.random_range(0..sections.len()),
        rng.random_range(0..sections.len()),
    );
    sections.swap(one, other);
    let mut swapped = bytes[..HEADER].to_vec();
    swapped.extend(sections.concat());
    *bytes = swapped;
}

/// Returns the sections of a component, each with its number and its length.
fn sections(component: &[u8]) -> Vec<Vec<u8>> {
    let mut sections = Vec::new();
    let mut rest = &component[HEADER..];
    while !rest.is_empty() {
        let mut length = 0;
        let mut at = 1;
        while let Some(byte) = rest.get(at) {
            length |= usize::from(byte & 0x7f) << (7 * (at - 1));
            at += 1;
            if *byte < 0x80 {
                break;
            }
        }
        let (section, after) = rest.split_at((at + length).min(rest.len()));
        sections.push(section.to_vec());
        rest = after;
    }
    sections
}
