//! JSON text as a tree that keeps each number as the text that was written.
//!
//! `serde_json` parses `1.10` into a number at once; then it is lost that it was a version.

use std::borrow::Cow;

/// The deepest nesting of lists and maps, the same as `serde_json`'s.
const MOST_DEPTH: u32 = 128;

/// One value of the config.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Node<'j> {
    Null,
    Bool(bool),
    /// The number as it was written.
    Number(&'j str),
    Text(Cow<'j, str>),
    List(Vec<Self>),
    Map(Vec<(Self, Self)>),
}

impl<'j> Node<'j> {
    /// Appends every scalar to `found`, in order.
    pub(super) fn scalars<'n>(&'n mut self, found: &mut Vec<&'n mut Self>) {
        match self {
            Self::Null | Self::Bool(_) | Self::Number(_) | Self::Text(_) => found.push(self),
            Self::List(parts) => parts.iter_mut().for_each(|part| part.scalars(found)),
            Self::Map(entries) => {
                entries
                    .iter_mut()
                    .for_each(|(_, value)| value.scalars(found));
            }
        }
    }

    /// Returns the text of a scalar, as it was written.
    pub(super) fn as_written(&self) -> Option<&str> {
        match self {
            Self::Number(text) => Some(text),
            Self::Text(text) => Some(text),
            Self::Bool(true) => Some("true"),
            Self::Bool(false) => Some("false"),
            Self::Null | Self::List(_) | Self::Map(_) => None,
        }
    }

    /// Returns a number or a boolean as the text that was written.
    pub(super) fn to_text(&self) -> Option<Self> {
        match self {
            Self::Number(text) => Some(Self::Text(Cow::Borrowed(text))),
            Self::Bool(true) => Some(Self::Text(Cow::Borrowed("true"))),
            Self::Bool(false) => Some(Self::Text(Cow::Borrowed("false"))),
            Self::Null | Self::Text(_) | Self::List(_) | Self::Map(_) => None,
        }
    }
}

/// Reads one JSON document.
pub(super) fn parse(json: &str) -> Result<Node<'_>, String> {
    let mut reader = Reader {
        rest: json,
        depth: MOST_DEPTH,
    };
    match reader.value() {
        Some(node) if reader.skip_spaces().is_empty() => Ok(node),
        _ if reader.depth == 0 => Err(format!("the config is nested deeper than {MOST_DEPTH}")),
        _ => {
            let at = json.len() - reader.rest.len();
            Err(format!("the config is not JSON: see byte {at}"))
        }
    }
}

/// A reader over the rest of the text. Its functions return no message: the position of the error
/// says enough.
struct Reader<'j> {
    rest: &'j str,
    /// The number of lists and maps that may still open; 0 after there were too many.
    depth: u32,
}

impl<'j> Reader<'j> {
    fn value(&mut self) -> Option<Node<'j>> {
        match self.skip_spaces().as_bytes().first()? {
            b'"' => self.text().map(Node::Text),
            b'[' => self.nested(b']', Self::value).map(Node::List),
            b'{' => self.nested(b'}', Self::entry).map(Node::Map),
            b'n' => self.eat("null").then_some(Node::Null),
            b't' => self.eat("true").then_some(Node::Bool(true)),
            b'f' => self.eat("false").then_some(Node::Bool(false)),
            _ => self.number().map(Node::Number),
        }
    }

    /// Reads the parts between an opening bracket and the closing one.
    fn nested<T>(
        &mut self,
        close: u8,
        mut part: impl FnMut(&mut Self) -> Option<T>,
    ) -> Option<Vec<T>> {
        self.depth = self.depth.checked_sub(1)?;
        if self.depth == 0 {
            return None;
        }
        let mut parts = Vec::new();
        self.rest = self.rest.get(1..)?;
        if self.skip_spaces().as_bytes().first() != Some(&close) {
            loop {
                parts.push(part(self)?);
                self.skip_spaces();
                if !self.eat(",") {
                    break;
                }
            }
        }
        let closes = self.rest.as_bytes().first() == Some(&close);
        self.rest = self.rest.get(1..).filter(|_| closes)?;
        self.depth += 1;
        Some(parts)
    }

    fn entry(&mut self) -> Option<(Node<'j>, Node<'j>)> {
        self.skip_spaces();
        let key = self.text()?;
        self.skip_spaces();
        if !self.eat(":") {
            return None;
        }
        Some((Node::Text(key), self.value()?))
    }

    fn text(&mut self) -> Option<Cow<'j, str>> {
        let mut rest = self.rest.strip_prefix('"')?;
        let mut text = Cow::Borrowed("");
        loop {
            let (run, after) = rest.split_at_checked(rest.find(['"', '\\'])?)?;
            if run.bytes().any(|byte| byte < b' ') {
                return None;
            }
            if text.is_empty() {
                text = Cow::Borrowed(run);
            } else {
                text.to_mut().push_str(run);
            }
            if let Some(after) = after.strip_prefix('"') {
                self.rest = after;
                return Some(text);
            }
            let (character, after) = escape(after)?;
            text.to_mut().push(character);
            rest = after;
        }
    }

    fn number(&mut self) -> Option<&'j str> {
        let is_of_number =
            |byte: &u8| byte.is_ascii_digit() || matches!(byte, b'+' | b'-' | b'.' | b'e' | b'E');
        let length = self.rest.bytes().take_while(|byte| is_of_number(byte));
        let (number, rest) = self.rest.split_at_checked(length.count())?;
        is_number(number).then(|| {
            self.rest = rest;
            number
        })
    }

    fn eat(&mut self, word: &str) -> bool {
        let rest = self.rest.strip_prefix(word);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    fn skip_spaces(&mut self) -> &'j str {
        self.rest = self.rest.trim_start_matches([' ', '\t', '\n', '\r']);
        self.rest
    }
}

/// Returns the character that an escape stands for, and the rest of the text.
fn escape(text: &str) -> Option<(char, &str)> {
    let (letter, rest) = text.get(1..)?.split_at_checked(1)?;
    let character = match letter {
        "n" => '\n',
        "t" => '\t',
        "r" => '\r',
        "b" => '\u{8}',
        "f" => '\u{c}',
        "\"" | "\\" | "/" => letter.chars().next()?,
        "u" => {
            let (unit, rest) = code_unit(rest)?;
            if !(0xd800..0xdc00).contains(&unit) {
                return Some((char::from_u32(unit)?, rest));
            }
            let (low, rest) = code_unit(rest.strip_prefix("\\u")?)?;
            let low = low.checked_sub(0xdc00).filter(|low| *low < 0x400)?;
            let character = char::from_u32(0x10000 + ((unit - 0xd800) << 10) + low)?;
            return Some((character, rest));
        }
        _ => return None,
    };
    Some((character, rest))
}

/// Reads four hexadecimal digits.
fn code_unit(text: &str) -> Option<(u32, &str)> {
    let (digits, rest) = text.split_at_checked(4)?;
    let is_hex = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    let unit = u32::from_str_radix(digits, 16).ok()?;
    is_hex.then_some((unit, rest))
}

/// Returns true if the text is a JSON number: digits, then perhaps a fraction and an exponent.
fn is_number(text: &str) -> bool {
    let text = text.strip_prefix('-').unwrap_or(text);
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (text, None),
    };
    let (whole, fraction) = match mantissa.split_once('.') {
        Some((whole, fraction)) => (whole, Some(fraction)),
        None => (mantissa, None),
    };
    let are_digits =
        |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let exponent = exponent.map(|text| text.strip_prefix(['+', '-']).unwrap_or(text));
    are_digits(whole)
        && (whole == "0" || !whole.starts_with('0'))
        && fraction.is_none_or(are_digits)
        && exponent.is_none_or(are_digits)
}
