//! Text from a guest, a signature or the compiler, made fit for an operator's terminal: one line,
//! bounded, nothing that moves a cursor.

use std::fmt::Write as _;

/// The longest such text inside an error or a fault.
pub const MESSAGE_BYTES: usize = 512;

/// Returns the longest prefix of `text` within `limit` bytes that ends at a character.
#[must_use]
pub fn cut(text: &str, limit: usize) -> &str {
    let end = text.floor_char_boundary(limit);
    text.get(..end).unwrap_or_default()
}

/// Returns `text` cut at `limit` bytes (with a note about the cut), with everything escaped that is
/// not printed as itself: control characters, line separators, and the marks that change the
/// reading direction.
#[must_use]
pub fn printable(text: &str, limit: usize) -> String {
    let text = text.trim_end();
    printable_start(text, text.len(), limit)
}

/// Does the same as [`printable`] for the start of a text of `total` bytes.
#[must_use]
pub fn printable_start(start: &str, total: usize, limit: usize) -> String {
    let kept = cut(start, limit);
    let mut line = String::with_capacity(kept.len().saturating_add(32));
    for character in kept.chars() {
        if is_unfit(character) {
            line.extend(character.escape_default());
        } else {
            line.push(character);
        }
    }
    if kept.len() < total {
        // Writing to a string cannot fail.
        write!(line, " [cut at {} of {total} bytes]", kept.len()).unwrap_or_default();
    }
    line
}

fn is_unfit(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{2028}' | '\u{2029}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::printable;

    /// An escape sequence, a line break and a direction mark reach the log as text.
    #[test]
    fn what_moves_a_cursor_is_escaped() {
        assert_eq!(
            printable("a\u{1b}[31mred\nb\u{202e}c é\n", 100),
            "a\\u{1b}[31mred\\nb\\u{202e}c é"
        );
    }

    /// A long text is cut between characters, and the text says so.
    #[test]
    fn a_long_text_is_cut_between_characters() {
        assert_eq!(printable("aéé", 2), "a [cut at 1 of 5 bytes]");
    }
}
