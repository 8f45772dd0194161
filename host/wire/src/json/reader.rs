//! Reads the tokens of a JSON text.

use alloc::borrow::Cow;
use alloc::vec::Vec;

use crate::json::error::Expected;
use crate::json::{number, scan, text};

/// The deepest nesting inside of a value that is skipped.
const SKIPPED_LEVELS: u32 = 100;

/// The thing that should stand in place of an unknown escape.
pub(super) const ESCAPE: Expected = Expected::This("an escape that JSON has");

/// Ends the work; the reader knows why. An error without content travels in a register.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stop;

/// A text between its quotes, as it stands.
#[derive(Clone, Copy, Debug)]
pub(super) struct Token<'a> {
    pub(super) raw: &'a [u8],
    /// True if nothing is escaped.
    pub(super) is_plain: bool,
    pub(super) is_ascii: bool,
    /// The offset of the first byte behind the quote.
    pub(super) at: usize,
}

/// A position in a JSON text.
#[derive(Debug)]
pub(super) struct Reader<'a> {
    text: &'a [u8],
    at: usize,
    /// The thing that was expected when the work stopped, and where.
    problem: Option<(usize, Expected)>,
}

impl<'a> Reader<'a> {
    /// Makes a reader. A byte order mark is not part of the text: some programs begin every file
    /// with it.
    pub(super) fn new(text: &'a [u8]) -> Self {
        let at = if text.starts_with(b"\xef\xbb\xbf") {
            3
        } else {
            0
        };
        Self {
            text,
            at,
            problem: None,
        }
    }

    #[inline(always)]
    pub(super) fn at(&self) -> usize {
        self.at
    }

    /// Returns what is not read yet.
    #[inline(always)]
    pub(super) fn rest(&self) -> &'a [u8] {
        self.text.get(self.at..).unwrap_or_default()
    }

    #[inline(always)]
    pub(super) fn advance(&mut self, bytes: usize) {
        self.at += bytes;
    }

    /// Returns the reason why the work stopped.
    pub(super) fn problem(&self) -> (usize, Expected) {
        self.problem
            .unwrap_or((self.at, Expected::This("another text")))
    }

    /// Notes what was expected at an offset.
    #[cold]
    pub(super) fn fail(&mut self, at: usize, expected: Expected) -> Stop {
        self.problem = Some((at, expected));
        Stop
    }

    /// Notes what was expected here.
    #[cold]
    pub(super) fn fail_here(&mut self, expected: &'static str) -> Stop {
        self.fail(self.at, Expected::This(expected))
    }

    /// Returns the next byte that is not white space.
    #[inline(always)]
    pub(super) fn peek(&mut self) -> Option<u8> {
        let byte = *self.text.get(self.at)?;
        if byte > b' ' {
            return Some(byte);
        }
        // Python writes one space behind colons and commas.
        if byte == b' '
            && let Some(next) = self.text.get(self.at + 1)
            && *next > b' '
        {
            self.at += 1;
            return Some(*next);
        }
        self.peek_behind_space()
    }

    #[inline(never)]
    fn peek_behind_space(&mut self) -> Option<u8> {
        let is_space = |byte: &u8| matches!(byte, b' ' | b'\n' | b'\r' | b'\t');
        let space = self.rest().iter().take_while(|byte| is_space(byte)).count();
        self.at += space;
        self.text.get(self.at).copied()
    }

    /// Takes the next byte if it is this one.
    #[inline(always)]
    pub(super) fn take(&mut self, byte: u8) -> bool {
        let is_next = self.peek() == Some(byte);
        self.at += usize::from(is_next);
        is_next
    }

    #[inline(always)]
    pub(super) fn expect(&mut self, byte: u8, expected: &'static str) -> Result<(), Stop> {
        if self.take(byte) {
            Ok(())
        } else {
            Err(self.fail_here(expected))
        }
    }

    /// Returns true if another member follows in an object or list, and false if its end does.
    #[inline(always)]
    pub(super) fn has_more(&mut self, end: u8) -> Result<bool, Stop> {
        match self.peek() {
            Some(b',') => {
                self.at += 1;
                Ok(true)
            }
            Some(byte) if byte == end => {
                self.at += 1;
                Ok(false)
            }
            _ => Err(self.fail_here("a comma or the end of the list or object")),
        }
    }

    /// Takes a word, and nothing if another follows.
    pub(super) fn word(&mut self, word: &[u8]) -> bool {
        let is_next = self.rest().starts_with(word);
        if is_next {
            self.at += word.len();
        }
        is_next
    }

    /// Takes `null` if it is next.
    #[inline(always)]
    pub(super) fn null(&mut self) -> bool {
        self.peek() == Some(b'n') && self.word(b"null")
    }

    /// Reads a text.
    #[inline(always)]
    pub(super) fn token(&mut self, expected: &'static str) -> Result<Token<'a>, Stop> {
        self.expect(b'"', expected)?;
        let (at, rest) = (self.at, self.rest());
        let plain = scan::plain(rest);
        if let Some((raw, [b'"', ..])) = rest.split_at_checked(plain.len) {
            self.at += plain.len + 1;
            return Ok(Token {
                raw,
                is_plain: true,
                is_ascii: plain.is_ascii,
                at,
            });
        }
        self.other_token()
    }

    /// Reads a text with escapes.
    #[inline(never)]
    fn other_token(&mut self) -> Result<Token<'a>, Stop> {
        let (at, text) = (self.at, self.rest());
        let mut is_ascii = true;
        let mut rest = text;
        loop {
            let plain = scan::plain(rest);
            is_ascii &= plain.is_ascii;
            rest = rest.get(plain.len..).unwrap_or_default();
            match rest {
                [b'"', ..] => break,
                [b'\\', _, after @ ..] => rest = after,
                _ => {
                    self.at = at + text.len() - rest.len();
                    return Err(self.fail_here("the rest of a text, without control characters"));
                }
            }
        }
        let len = text.len() - rest.len();
        self.at += len + 1;
        Ok(Token {
            raw: text.get(..len).unwrap_or_default(),
            is_plain: false,
            is_ascii,
            at,
        })
    }

    /// Returns what a text stands for.
    #[inline(always)]
    pub(super) fn content(&mut self, token: Token<'a>) -> Result<Cow<'a, [u8]>, Stop> {
        if token.is_plain {
            return Ok(Cow::Borrowed(token.raw));
        }
        let mut content = Vec::new();
        match text::unescape(token.raw, &mut content) {
            Ok(_) => Ok(Cow::Owned(content)),
            Err(at) => Err(self.fail(token.at + at, ESCAPE)),
        }
    }

    /// Reads the key of a member and the colon behind it.
    #[inline(always)]
    pub(super) fn key(&mut self) -> Result<Token<'a>, Stop> {
        let key = self.token("a key in quotes")?;
        self.expect(b':', "a colon")?;
        Ok(key)
    }

    /// Skips a value. It takes no stack, however deep the value is.
    pub(super) fn skip(&mut self) -> Result<(), Stop> {
        // For each level a bit that is set if it is an object.
        let mut levels = 0_u128;
        let mut depth = 0_u32;
        loop {
            if let Some(open @ (b'{' | b'[')) = self.peek() {
                self.at += 1;
                let is_object = open == b'{';
                levels = levels << 1 | u128::from(is_object);
                depth += 1;
                if depth > SKIPPED_LEVELS {
                    return Err(self.fail(self.at - 1, Expected::Levels(SKIPPED_LEVELS)));
                }
                if !self.take(if is_object { b'}' } else { b']' }) {
                    if is_object {
                        self.key()?;
                    }
                    continue;
                }
                levels >>= 1;
                depth -= 1;
            } else {
                self.skip_scalar()?;
            }
            while depth > 0 {
                let is_object = levels & 1 == 1;
                if self.has_more(if is_object { b'}' } else { b']' })? {
                    if is_object {
                        self.key()?;
                    }
                    break;
                }
                levels >>= 1;
                depth -= 1;
            }
            if depth == 0 {
                return Ok(());
            }
        }
    }

    fn skip_scalar(&mut self) -> Result<(), Stop> {
        match self.peek() {
            Some(b'"') => return self.token("a text").map(drop),
            Some(b't') if self.word(b"true") => return Ok(()),
            Some(b'f') if self.word(b"false") => return Ok(()),
            Some(b'n') if self.word(b"null") => return Ok(()),
            Some(b'-' | b'0'..=b'9') if number::begins_well(self.rest()) => {
                if let Some(len) = number::len(self.rest()) {
                    self.at += len;
                    return Ok(());
                }
            }
            _ => {}
        }
        Err(self.fail_here("a value"))
    }
}
