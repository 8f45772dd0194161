//! Protobuf bytes that are being written from the front, with messages whose length is known only at
//! their end.

use alloc::vec::Vec;
use core::mem;

use crate::write::fields::{varint_len, write_varint};

/// The most bytes of a message that are moved to make room for its length, or to close a gap.
const MOVED: usize = 1024;

/// The bytes of a request so far.
///
/// A message begins with room for a length as it probably is. If the length turns out to take other
/// room, a small message is moved, and of a large one the length is noted. At the end the noted
/// lengths are set into one copy of the bytes. So whatever the nesting, each byte is moved with a
/// message of at most [`MOVED`] bytes, and once more at the end.
#[derive(Debug)]
pub(super) struct Draft {
    pub(super) out: Vec<u8>,
    late: Vec<LateLength>,
    /// The bytes by which the noted lengths will change the size of the request.
    growth: isize,
}

/// A message that is begun, and not yet ended.
#[derive(Clone, Copy, Debug)]
pub(super) struct Open {
    /// The offset of the content, behind the room for its length.
    content: usize,
    width: usize,
    growth: isize,
}

/// A length that has not the room that it needs.
#[derive(Clone, Copy, Debug)]
struct LateLength {
    /// The offset behind the room.
    content: usize,
    width: usize,
    len: usize,
}

impl Draft {
    pub(super) fn new(out: Vec<u8>) -> Self {
        Self {
            out,
            late: Vec::new(),
            growth: 0,
        }
    }

    /// Writes the key of a field.
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "seven bits at a time")]
    pub(super) fn key(&mut self, key: u32) {
        if key < 0x80 {
            self.out.push(key as u8);
        } else {
            // Fields of OTLP have numbers below 2048.
            let bytes = [key as u8 | 0x80, (key >> 7) as u8];
            self.out.extend_from_slice(&bytes);
        }
    }

    /// Writes a field that takes eight bytes.
    #[inline(always)]
    pub(super) fn fixed64(&mut self, key: u32, bits: u64) {
        self.key(key);
        self.out.extend_from_slice(&bits.to_le_bytes());
    }

    /// Writes an id.
    #[inline(always)]
    pub(super) fn id<const BYTES: usize>(&mut self, key: u32, id: &[u8; BYTES]) {
        self.key(key);
        self.out.push(BYTES.to_le_bytes()[0]);
        self.out.extend_from_slice(id);
    }

    /// Begins a message field. `guess` is the probable length of its content.
    #[inline(always)]
    pub(super) fn open(&mut self, key: u32, guess: usize) -> Open {
        self.key(key);
        let width = varint_len(guess);
        self.out.extend_from_slice(&[0; 8]);
        let content = self.out.len() - 8 + width.min(8);
        self.out.truncate(content);
        Open {
            content,
            width,
            growth: self.growth,
        }
    }

    /// Ends a message field: everything since its beginning is its content.
    #[inline(always)]
    pub(super) fn close(&mut self, open: Open) {
        let written = self.out.len() - open.content;
        let len = written.saturating_add_signed(self.growth - open.growth);
        let at = open.content - open.width;
        match open.width {
            1 if len < 0x80 => self.set(at, [len.to_le_bytes()[0]]),
            2 if (0x80..0x4000).contains(&len) => {
                let low = len.to_le_bytes()[0] | 0x80;
                self.set(at, [low, (len >> 7).to_le_bytes()[0]]);
            }
            _ => self.close_other(open, len),
        }
    }

    #[inline(always)]
    fn set<const WIDTH: usize>(&mut self, at: usize, bytes: [u8; WIDTH]) {
        if let Some(room) = self.out.get_mut(at..at + WIDTH) {
            room.copy_from_slice(&bytes);
        }
    }

    #[inline(never)]
    fn close_other(&mut self, open: Open, len: usize) {
        let width = varint_len(len);
        let Open { content, .. } = open;
        if width != open.width {
            // Nothing is noted in a message that is so small, so its offsets may change.
            if self.out.len() - content > MOVED {
                self.late.push(LateLength {
                    content,
                    width: open.width,
                    len,
                });
                self.growth = self.growth + width.cast_signed() - open.width.cast_signed();
                return;
            }
            self.shift(content, open.width, width);
        }
        let mut rest = len;
        let at = content - open.width;
        for place in 0..width {
            let more = if place + 1 < width { 0x80 } else { 0 };
            self.set(at + place, [rest.to_le_bytes()[0] & 0x7f | more]);
            rest >>= 7;
        }
    }

    /// Moves what stands behind the room for a length, so that the room gets another width.
    fn shift(&mut self, content: usize, from: usize, to: usize) {
        let end = self.out.len();
        let moved = content - from + to;
        self.out.resize(end.max(end - from + to), 0);
        self.out.copy_within(content..end, moved);
        self.out.truncate(end - from + to);
    }

    /// Returns the bytes with all lengths.
    pub(super) fn finish(mut self) -> Vec<u8> {
        if self.late.is_empty() {
            return self.out;
        }
        let late = &mut self.late;
        late.sort_unstable_by_key(|length| length.content);
        let len = self.out.len().saturating_add_signed(self.growth);
        let mut whole = Vec::with_capacity(len);
        let mut from = 0;
        for length in mem::take(late) {
            let room = length.content - length.width;
            whole.extend_from_slice(self.out.get(from..room).unwrap_or_default());
            write_varint(&mut whole, length.len as u64);
            from = length.content;
        }
        whole.extend_from_slice(self.out.get(from..).unwrap_or_default());
        whole
    }
}
