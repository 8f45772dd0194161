//! Arbitrary requests, in JSON and back.

use proptest::prelude::*;
use prost::Message as _;
use serde_json::{Value, json};
use spandrel_wire::Signal;

use super::{by_prost, by_serde, good, printed, transcoded};
use crate::cases::{cases, dice};
use crate::dice::Dice;
use crate::mess::mess_up;
use crate::metrics::metrics;
use crate::requests::{logs, traces};

/// Returns a request as protobuf bytes, and as JSON by serde.
fn request(signal: Signal, dice: &mut Dice) -> (Vec<u8>, Value) {
    match signal {
        Signal::Traces => {
            let request = traces(dice);
            (
                request.encode_to_vec(),
                serde_json::to_value(&request).unwrap(),
            )
        }
        Signal::Metrics => {
            let request = metrics(dice);
            (
                request.encode_to_vec(),
                serde_json::to_value(&request).unwrap(),
            )
        }
        Signal::Logs => {
            let request = logs(dice);
            (
                request.encode_to_vec(),
                serde_json::to_value(&request).unwrap(),
            )
        }
    }
}

/// Returns the same JSON with the names of the proto files as keys.
fn in_snake_case(value: Value) -> Value {
    match value {
        Value::Object(members) => {
            let renamed = members.into_iter().map(|(key, value)| {
                let mut name = String::new();
                for char in key.chars() {
                    if char.is_ascii_uppercase() {
                        name.push('_');
                    }
                    name.push(char.to_ascii_lowercase());
                }
                (name, in_snake_case(value))
            });
            Value::Object(renamed.collect())
        }
        Value::Array(values) => Value::Array(values.into_iter().map(in_snake_case).collect()),
        other => other,
    }
}

/// Adds the default values that serde's form does not read without: those of messages that have no
/// default there.
fn filled(value: &mut Value) {
    match value {
        Value::Array(values) => values.iter_mut().for_each(filled),
        Value::Object(members) => {
            for (key, value) in members.iter_mut() {
                let defaults = match key.as_str() {
                    "entityRefs" => json!({
                        "schemaUrl": "", "type": "", "idKeys": [], "descriptionKeys": []
                    }),
                    "arrayValue" | "kvlistValue" => json!({ "values": [] }),
                    "attributes" | "filteredAttributes" | "metadata" | "values" => {
                        json!({ "key": "" })
                    }
                    _ => Value::Null,
                };
                let filled_in: Vec<&mut Value> = match value {
                    Value::Array(values) => values.iter_mut().collect(),
                    value => vec![value],
                };
                for value in filled_in {
                    if let (Some(members), Value::Object(defaults)) =
                        (value.as_object_mut(), &defaults)
                    {
                        for (key, default) in defaults {
                            members.entry(key).or_insert(default.clone());
                        }
                    }
                    filled(value);
                }
            }
        }
        _ => {}
    }
}

proptest! {
    #![proptest_config(cases())]

    /// The JSON of serde is read as the same request, in compact form, with white space, with keys
    /// in another order, and with the names of the proto files. It is written as short as prost
    /// writes it.
    #[test]
    fn the_json_of_serde_is_read(mut dice in dice(900)) {
        for signal in Signal::ALL {
            let (expected, json) = request(signal, &mut dice);
            let pretty = serde_json::to_string_pretty(&json).unwrap();
            let snake = in_snake_case(json.clone()).to_string();
            for text in [json.to_string(), pretty, snake] {
                let bytes = good(signal, &text);
                prop_assert_eq!(by_prost(signal, &bytes), &expected[..], "{}", text);
                prop_assert_eq!(bytes.len(), expected.len());
            }
        }
    }

    /// The JSON that is written is read by serde as the same request, and here byte for byte.
    #[test]
    fn what_is_written_is_read(mut dice in dice(900)) {
        for signal in Signal::ALL {
            let (expected, _) = request(signal, &mut dice);
            let text = printed(signal, &expected);
            prop_assert_eq!(by_prost(signal, &good(signal, &text)), &expected[..]);
            let mut value: Value = serde_json::from_str(&text).unwrap();
            filled(&mut value);
            prop_assert_eq!(by_serde(signal, &value.to_string()), expected, "{}", text);
        }
    }

    /// A request in an unusual form on the wire is written with the meaning that prost finds in it.
    #[test]
    fn the_meaning_of_unusual_bytes(mut dice in dice(900)) {
        let mut mess = dice.fork(300);
        let request = mess_up(&mut mess, &traces(&mut dice).encode_to_vec());
        let text = printed(Signal::Traces, &request);
        let read = good(Signal::Traces, &text);
        prop_assert_eq!(by_prost(Signal::Traces, &read), by_prost(Signal::Traces, &request));
    }

    /// Damaged JSON is refused or becomes a valid request.
    #[test]
    fn damaged_json(mut dice in dice(900)) {
        for signal in Signal::ALL {
            let mut harm = dice.fork(60);
            let (_, json) = request(signal, &mut dice);
            let mut text = json.to_string().into_bytes();
            for _ in 0..=harm.roll(3) {
                let at = harm.roll(text.len());
                let other = harm.roll(text.len());
                match harm.roll(4) {
                    0 => text.truncate(at + 1),
                    1 => text[at] = harm.byte(),
                    2 => text[at] = b"{}[]\",:\\0-e.nu"[harm.roll(14)],
                    _ => {
                        let piece = text[at..text.len().min(at + 30)].to_vec();
                        drop(text.splice(other..other, piece));
                    }
                }
            }
            drop(transcoded(signal, &text));
        }
    }
}
