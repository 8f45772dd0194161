//! Writes messages whose length is known only once they are written.

use alloc::vec::Vec;

use super::fields::{varint_len, write_varint};

/// A message field that is begun, and not yet ended.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OpenField {
    /// The offset of the field.
    start: usize,
    /// The offset of its content, behind the room for its length.
    content: usize,
    width: usize,
}

impl OpenField {
    /// Returns the offset of the content, which is valid until the field is ended.
    pub(crate) fn content(self) -> usize {
        self.content
    }
}

/// Writes a message field whose content `write` appends.
pub fn write_nested(out: &mut Vec<u8>, field: u32, write: impl FnOnce(&mut Vec<u8>)) {
    // Most messages are short, so one byte for the length is right. Longer ones are moved to make
    // room.
    let open = begin(out, field, 0);
    write(out);
    end(out, open);
}

/// Begins a message field. `guess` is the expected length of its content: if the length takes as
/// many bytes as the guess, nothing is moved at the end.
#[inline]
pub(crate) fn begin(out: &mut Vec<u8>, field: u32, guess: usize) -> OpenField {
    let start = out.len();
    write_varint(out, u64::from(field) << 3 | 2);
    let width = varint_len(guess);
    out.resize(out.len() + width, 0);
    OpenField {
        start,
        content: out.len(),
        width,
    }
}

/// Ends a message field: everything since its beginning is its content.
#[inline]
pub(crate) fn end(out: &mut Vec<u8>, open: OpenField) {
    let len = out.len() - open.content;
    let width = varint_len(len);
    if width != open.width {
        shift(out, open, width);
    }
    let at = open.content - open.width;
    let mut rest = len;
    for byte in out.iter_mut().skip(at).take(width) {
        *byte = rest.to_le_bytes()[0] | 0x80;
        rest >>= 7;
    }
    if let Some(last) = out.get_mut(at + width - 1) {
        *last &= 0x7f;
    }
}

/// Removes a message field and everything in it.
#[inline]
pub(crate) fn cancel(out: &mut Vec<u8>, open: OpenField) {
    out.truncate(open.start);
}

#[cold]
fn shift(out: &mut Vec<u8>, open: OpenField, width: usize) {
    let end = out.len();
    let content = open.content - open.width + width;
    let len = end - open.content;
    if content > open.content {
        out.resize(content + len, 0);
    }
    out.copy_within(open.content..end, content);
    out.truncate(content + len);
}
