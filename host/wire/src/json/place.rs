//! Finds the JSON path of a byte. It is needed only for errors, so that nothing is noted on the way
//! of a good text.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt::Write as _;

/// The deepest level that a path names. No accepted text goes deeper.
const DEEPEST: usize = 256;

/// The longest key that a path quotes, in bytes. All keys of OTLP fit.
const LONGEST_KEY: usize = 32;

/// The part of a path that belongs to one level.
#[derive(Clone, Copy, Debug)]
enum Level<'a> {
    /// The position in a list.
    Item(usize),
    /// The key in an object, and true if it is followed by its value.
    Key(&'a [u8], bool),
}

/// Returns the path of the value at this offset: `resourceSpans[0].resource`. It is that of the
/// object if a key stands there.
pub(super) fn path(text: &[u8], offset: usize) -> String {
    let text = text.get(..offset).unwrap_or(text);
    let mut levels: Vec<Level<'_>> = Vec::new();
    let mut at = 0;
    while let Some(byte) = text.get(at) {
        at += 1;
        match byte {
            b'{' if levels.len() < DEEPEST => levels.push(Level::Key(&[], false)),
            b'[' if levels.len() < DEEPEST => levels.push(Level::Item(0)),
            b'}' | b']' => drop(levels.pop()),
            b':' => {
                if let Some(Level::Key(_, is_read)) = levels.last_mut() {
                    *is_read = true;
                }
            }
            b',' => match levels.last_mut() {
                Some(Level::Item(number)) => *number += 1,
                Some(Level::Key(_, is_read)) => *is_read = false,
                None => {}
            },
            b'"' => {
                let rest = text.get(at..).unwrap_or_default();
                let len = text_len(rest);
                if let Some(Level::Key(key, false)) = levels.last_mut() {
                    *key = rest.get(..len).unwrap_or_default();
                }
                at += len + 1;
            }
            _ => {}
        }
    }
    write(&levels)
}

/// Returns the length of a text up to its quote.
fn text_len(text: &[u8]) -> usize {
    let mut is_escaped = false;
    let end = text.iter().position(|byte| {
        let ends = *byte == b'"' && !is_escaped;
        is_escaped = *byte == b'\\' && !is_escaped;
        ends
    });
    end.unwrap_or(text.len())
}

fn write(levels: &[Level<'_>]) -> String {
    let mut path = String::new();
    for level in levels {
        match level {
            Level::Item(number) => {
                // Writing to a string cannot fail.
                let _ok = write!(path, "[{number}]");
            }
            Level::Key(key, true) => {
                if !path.is_empty() {
                    path.push('.');
                }
                let shown = key.get(..LONGEST_KEY).unwrap_or(key);
                path.push_str(&String::from_utf8_lossy(shown));
                if shown.len() < key.len() {
                    path.push_str("...");
                }
            }
            Level::Key(_, false) => {}
        }
    }
    path
}
