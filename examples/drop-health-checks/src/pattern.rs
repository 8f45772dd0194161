//! One pattern, in its cheapest equivalent form.

use spandrel_guest::{Glob, Value};

/// An operator's pattern, in the form in which it is compared.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Pattern {
    form: Form,
    /// The text as a number, for values that a sender wrote as floats: `200` matches `200.0`.
    number: Option<f64>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Form {
    /// A pattern without `*`.
    Exact(String),
    /// A pattern with one `*`, at the end.
    Prefix(String),
    /// A pattern with `*` elsewhere.
    Glob(Glob),
}

impl From<String> for Pattern {
    fn from(text: String) -> Self {
        let number = text.parse().ok();
        let form = match text.split_once('*') {
            None => Form::Exact(text),
            Some((prefix, "")) => Form::Prefix(prefix.to_owned()),
            Some(_) => Form::Glob(Glob::from(text)),
        };
        Self { form, number }
    }
}

impl Pattern {
    pub(crate) fn matches(&self, text: &str) -> bool {
        match &self.form {
            Form::Exact(whole) => text == whole,
            Form::Prefix(prefix) => text.starts_with(prefix.as_str()),
            Form::Glob(glob) => glob.matches(text),
        }
    }

    /// Returns true if the text of a value of any type matches, or if any value of a list matches.
    pub(crate) fn matches_value(&self, value: Value<'_>) -> bool {
        match value {
            Value::Array(mut values) => values.any(|value| self.matches_scalar(value)),
            value => self.matches_scalar(value),
        }
    }

    fn matches_scalar(&self, value: Value<'_>) -> bool {
        match value {
            Value::Str(text) => self.matches(text),
            Value::Bool(true) => self.matches("true"),
            Value::Bool(false) => self.matches("false"),
            Value::Int(number) => self.matches(decimal(number, &mut [0; LONGEST_INT])),
            Value::Double(number) => self.number == Some(number),
            Value::Empty | Value::Bytes(_) | Value::Array(_) | Value::KeyValues(_) => false,
        }
    }
}

/// The length of `-9223372036854775808`.
const LONGEST_INT: usize = 20;

/// Formats a number without an allocation.
fn decimal(number: i64, room: &mut [u8; LONGEST_INT]) -> &str {
    let mut left = number.unsigned_abs();
    let mut start = room.len();
    for (place, byte) in room.iter_mut().enumerate().rev() {
        *byte = b'0' + u8::try_from(left % 10).unwrap_or_default();
        left /= 10;
        start = place;
        if left == 0 {
            break;
        }
    }
    if number < 0 && start > 0 {
        start -= 1;
        if let Some(sign) = room.get_mut(start) {
            *sign = b'-';
        }
    }
    let written = room.get(start..).unwrap_or_default();
    std::str::from_utf8(written).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(text: &str) -> Pattern {
        Pattern::from(text.to_owned())
    }

    /// Each form matches the same values as its text.
    #[test]
    fn forms_are_chosen_by_their_stars() {
        let form = |text| pattern(text).form;
        assert_eq!(form("/healthz"), Form::Exact("/healthz".to_owned()));
        assert_eq!(form("kube-probe/*"), Form::Prefix("kube-probe/".to_owned()));
        assert_eq!(form("*"), Form::Prefix(String::new()));
        assert!(pattern("/*/health").matches("/v1/health"));
        assert!(!pattern("/*/health").matches("/v1/healthy"));
        assert!(!pattern("/healthz").matches("/healthz/db"));
    }

    /// A value is compared by its text, for every type that the sender may use.
    #[test]
    fn values_match_by_their_text() {
        for (text, value, matches) in [
            ("200", Value::Int(200), true),
            ("200", Value::Int(201), false),
            ("200", Value::Str("200"), true),
            ("200", Value::Double(200.0), true),
            ("200", Value::Double(200.5), false),
            ("2*", Value::Int(204), true),
            ("2*", Value::Int(-204), false),
            ("-7", Value::Int(-7), true),
            ("0", Value::Int(0), true),
            ("0.5", Value::Double(0.5), true),
            ("true", Value::Bool(true), true),
            ("true", Value::Bool(false), false),
            ("false", Value::Bool(false), true),
            ("1", Value::Bool(true), false),
            ("*", Value::Empty, false),
            ("*", Value::Bytes(b"x"), false),
        ] {
            assert_eq!(
                pattern(text).matches_value(value),
                matches,
                "{text} {value:?}"
            );
        }
    }

    /// Numbers are written in the usual decimal notation.
    #[test]
    fn numbers_are_written_in_decimal() {
        for number in [
            0,
            1,
            -1,
            9,
            10,
            -10,
            255,
            256,
            65_536,
            i64::MAX,
            i64::MIN,
            1_234_567_890,
        ] {
            assert_eq!(decimal(number, &mut [0; LONGEST_INT]), number.to_string());
        }
    }
}
