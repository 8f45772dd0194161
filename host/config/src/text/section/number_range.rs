//! Numbers as the values of keys.

use std::fmt::Display;
use std::ops::RangeInclusive;

use serde_json::Value;

use super::Section;
use crate::key::Form;
use crate::text::scalar;

/// The whole numbers that a key may have.
pub(super) struct IntegerRange<T>(pub(super) RangeInclusive<T>);

impl<T: TryFrom<i128> + PartialOrd + Display> IntegerRange<T> {
    /// Returns the value of a key; `None` if it has none or another.
    pub(super) fn read(
        self,
        section: &Section<'_>,
        key: &'static str,
        default: Option<&T>,
    ) -> Option<T> {
        let Self(range) = self;
        section.ask(key, || {
            let end = |number: &T| json(number).unwrap_or_default();
            let form = Form::Integer {
                least: end(range.start()),
                most: end(range.end()),
            };
            (form, default.and_then(json))
        });
        let text = section.text(key, "a whole number")?;
        let instead = || {
            let (least, most) = (range.start(), range.end());
            format!("write a whole number from {least} to {most}")
        };
        let Some(number) = scalar::integer(text) else {
            let what = format!("{} is not a whole number", section.shown(key, text));
            section.wrong_key(key, what, instead());
            return None;
        };
        match T::try_from(number) {
            Ok(number) if range.contains(&number) => Some(number),
            _ => {
                let shown = match section.node(key).is_some_and(|node| node.hidden) {
                    true => "this value".to_owned(),
                    false => number.to_string(),
                };
                section.wrong_key(key, format!("{shown} is out of range"), instead());
                None
            }
        }
    }
}

/// The numbers that a key may have.
pub(super) struct FloatRange(pub(super) RangeInclusive<f64>);

impl FloatRange {
    /// Returns the value of a key.
    pub(super) fn read(self, section: &Section<'_>, key: &'static str, default: f64) -> f64 {
        let Self(range) = self;
        let (least, most) = (*range.start(), *range.end());
        section.ask(key, || (Form::Number { least, most }, Some(default.into())));
        let Some(text) = section.text(key, "a number") else {
            return default;
        };
        match scalar::float(text) {
            Some(number) if range.contains(&number) => number,
            _ => {
                let what = format!("{} is not valid here", section.shown(key, text));
                let instead = format!("write a number from {least} to {most}");
                section.wrong_key(key, what, instead);
                default
            }
        }
    }
}

/// Returns a number as JSON.
fn json(number: &impl Display) -> Option<Value> {
    serde_json::from_str(&number.to_string()).ok()
}
