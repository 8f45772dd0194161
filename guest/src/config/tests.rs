use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt::Debug;

use serde::Deserialize;
use serde_json::{Value as Json, json};

use super::*;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    #[serde(default)]
    routes: Vec<Route>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Route {
    exact: String,
}

/// The error names the wrong key and the reason in terms of what the operator wrote.
#[test]
fn errors_name_the_path() {
    let wrong_type = parse::<Config>(r#"{"routes":[{"exact":"/a"},{"exact":[3]}]}"#);
    assert_eq!(
        wrong_type.unwrap_err(),
        "routes[1].exact: invalid type: sequence, expected a string"
    );
    let null = parse::<Config>(r#"{"routes":[{"exact":null}]}"#);
    assert_eq!(
        null.unwrap_err(),
        "routes[0].exact: invalid type: null, expected a string"
    );
    let right = parse::<Config>(r#"{"routes":[{"exact":"/a"}]}"#).unwrap();
    assert_eq!(right.routes[0].exact, "/a");
    let unknown = parse::<Config>(r#"{"rutes":[]}"#);
    assert_eq!(
        unknown.unwrap_err(),
        "rutes: unknown field `rutes`, expected `routes`"
    );
}

/// A stage without `config` gets the defaults of its plugin.
#[test]
fn no_config_is_an_empty_one() {
    for json in ["", "null", "{}", " { } "] {
        let config = parse::<Config>(json).unwrap();
        assert!(config.routes.is_empty());
    }
}

/// A missing key is reported with the path of the map that lacks it.
#[test]
fn missing_keys_are_named() {
    let missing = parse::<Config>(r#"{"routes":[{}]}"#);
    assert_eq!(missing.unwrap_err(), "routes[0]: missing field `exact`");
}

/// Each scalar that an operator may write, and the value of a text field for it.
const WRITTEN: [(&str, &str); 12] = [
    ("4711", "4711"),
    ("\"4711\"", "4711"),
    ("1.10", "1.10"),
    ("12345e7", "12345e7"),
    ("12345678901234567890123", "12345678901234567890123"),
    ("1E+5", "1E+5"),
    ("-0", "-0"),
    ("1e999", "1e999"),
    ("true", "true"),
    ("false", "false"),
    ("\"0xff\"", "0xff"),
    ("\"a #b\"", "a #b"),
];

/// A text type gets the scalar as it was written, anywhere in the config.
#[test]
fn texts_are_as_they_were_written() {
    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Texts {
        plain: String,
        cow: Cow<'static, str>,
        maybe: Option<String>,
        list: Vec<String>,
        map: BTreeMap<String, Vec<String>>,
        nested: Route,
        newtype: Named,
        pair: (String, u8),
        one_of: OneOf,
        glob: crate::Glob,
    }
    #[derive(Debug, Deserialize)]
    struct Named(String);
    #[derive(Debug, Deserialize)]
    enum OneOf {
        Name(String),
    }
    for (written, text) in WRITTEN {
        let config = format!(
            r#"{{"plain":{written},"cow":{written},"maybe":{written},"list":[{written}],
                "map":{{"key":[{written}]}},"nested":{{"exact":{written}}},"newtype":{written},
                "pair":[{written},5],"one_of":{{"Name":{written}}},"glob":{written}}}"#
        );
        let read: Texts = parse(&config).unwrap();
        assert_eq!(read.plain, text);
        assert_eq!(read.cow, text);
        assert_eq!(read.maybe.as_deref(), Some(text));
        assert_eq!(read.list, [text]);
        assert_eq!(read.map["key"], [text]);
        assert_eq!(read.nested.exact, text);
        assert_eq!(read.newtype.0, text);
        assert_eq!(read.pair, (text.to_owned(), 5));
        let OneOf::Name(name) = read.one_of;
        assert_eq!(name, text);
        assert_eq!(read.glob.as_str(), text);
    }
    #[derive(Debug, Deserialize)]
    struct Maybe {
        maybe: Option<String>,
    }
    assert_eq!(parse::<Maybe>(r#"{"maybe":null}"#).unwrap().maybe, None);
}

/// Any scalar can name a variant of an enum by its text: a version, a status code, `true`.
#[test]
fn variants_are_named_by_any_scalar() {
    #[derive(Debug, PartialEq, Deserialize)]
    enum Version {
        #[serde(rename = "1.10")]
        OneTen,
        #[serde(rename = "true")]
        Yes,
        Range {
            from: u8,
        },
        Pair(u8, String),
    }
    let read = |json| parse::<Vec<Version>>(json).unwrap();
    let expected = [Version::OneTen, Version::OneTen, Version::Yes];
    assert_eq!(read(r#"[1.10, "1.10", true]"#), expected);
    let expected = [Version::Range { from: 3 }, Version::Pair(1, "2".to_owned())];
    assert_eq!(read(r#"[{"Range":{"from":3}}, {"Pair":[1,2]}]"#), expected);
    assert_eq!(
        parse::<Vec<Version>>("[1.1]").unwrap_err(),
        "[0]: unknown variant `1.1`, expected one of `1.10`, `true`, `Range`, `Pair`"
    );
}

/// A text that serde buffers before it knows its type is still read as it was written. Numbers and
/// booleans beside it stay what they are.
#[test]
fn buffered_texts_are_as_they_were_written() {
    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(untagged)]
    enum OneOrMany {
        One(String),
        Many(Vec<String>),
    }
    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(tag = "kind", rename_all = "lowercase")]
    enum Rule {
        Tenant { id: String, limit: u32, on: bool },
    }
    #[derive(Debug, PartialEq, Deserialize)]
    struct Outer {
        tenants: OneOrMany,
        others: OneOrMany,
        #[serde(default)]
        rules: Vec<Rule>,
        #[serde(flatten)]
        common: Common,
        anything: Json,
    }
    #[derive(Debug, PartialEq, Deserialize)]
    struct Common {
        count: u32,
        version: String,
        name: Option<String>,
    }
    let read: Outer = parse(
        r#"{
            "anything": [1, true], "tenants": 4711, "others": [1.10, "a", true],
            "rules": [{ "kind": "tenant", "id": 5, "limit": 5, "on": true },
                      { "kind": "tenant", "limit": 6, "on": false, "id": true }],
            "count": 3, "version": 1.10, "name": false
        }"#,
    )
    .unwrap();
    let text = str::to_owned;
    let rule = |id, limit, on| Rule::Tenant {
        id: text(id),
        limit,
        on,
    };
    let expected = Outer {
        tenants: OneOrMany::One(text("4711")),
        others: OneOrMany::Many(["1.10", "a", "true"].map(text).to_vec()),
        rules: vec![rule("5", 5, true), rule("true", 6, false)],
        common: Common {
            count: 3,
            version: text("1.10"),
            name: Some(text("false")),
        },
        anything: json!([1, true]),
    };
    assert_eq!(read, expected);
    // The error for a value that still does not fit is the same as without the tries.
    assert_eq!(
        parse::<Vec<Rule>>(r#"[{ "kind": "tenant", "id": 5, "limit": [], "on": true }]"#)
            .unwrap_err(),
        "[0]: invalid type: integer `5`, expected a string"
    );
    // A large config that does not fit is refused soon.
    let many = serde_json::to_string(&vec![1; 100_000]).unwrap();
    assert_eq!(
        parse::<Vec<OneOrMany>>(&many).unwrap_err(),
        "[0]: data did not match any variant of untagged enum OneOrMany"
    );
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "the cases are written as values"
)]
fn same<C: DeserializeOwned + PartialEq + Debug>(json: &str, value: Option<C>) {
    assert_eq!(parse::<C>(json).ok(), value, "{json}");
}

/// A variable in quotes is a text, and still fits where a number or a boolean is expected.
#[test]
fn numbers_and_booleans_come_out_of_texts() {
    for (json, number) in [
        ("5", Some(5)),
        ("\"5\"", Some(5)),
        ("\"+5\"", Some(5)),
        ("\"0xff\"", Some(255)),
        ("\"0o644\"", Some(420)),
        ("\"0123\"", None),
        ("\"five\"", None),
        ("\"\"", None),
        ("true", None),
        ("1.5", None),
        ("-1", None),
        ("99999999999999999999", None),
    ] {
        same::<u64>(json, number);
        same::<u16>(json, number.map(|number| u16::try_from(number).unwrap()));
        same::<f64>(
            json,
            match json {
                "1.5" => Some(1.5),
                "-1" => Some(-1.0),
                "99999999999999999999" => Some(1e20),
                _ => number.map(|number| f64::from(u32::try_from(number).unwrap())),
            },
        );
    }
    same("\"-7\"", Some(-7_i8));
    same("\"0.5\"", Some(0.5_f32));
    same("\".5\"", Some(0.5));
    same::<f64>("\"inf\"", None);
    same(
        "99999999999999999999",
        Some(99_999_999_999_999_999_999_u128),
    );
    for (json, truth) in [
        ("true", Some(true)),
        ("\"true\"", Some(true)),
        ("\"False\"", Some(false)),
        ("\"yes\"", None),
        ("1", None),
    ] {
        same::<bool>(json, truth);
    }
    assert_eq!(
        parse::<BTreeMap<u16, bool>>(r#"{"80":"true"}"#).unwrap(),
        BTreeMap::from([(80, true)])
    );
    assert_eq!(
        parse::<BTreeMap<String, u8>>(r#"{"a":"many"}"#).unwrap_err(),
        "a: invalid type: string \"many\", expected u8"
    );
}

/// A type that accepts anything gets the type of the JSON.
#[test]
fn a_type_that_takes_anything_gets_what_stands_there() {
    let json = json!({
        "a": [1, -2, 0.5, "4711", true, null, { "b": [] }],
        "c": "line\nbreak \u{1f600} \" \\ / \u{8}\u{c}\t\r",
        "": u64::MAX,
    });
    for text in [
        json.to_string(),
        serde_json::to_string_pretty(&json).unwrap(),
    ] {
        assert_eq!(parse::<Json>(&text).unwrap(), json);
    }
    let escaped = r#"["\u00e9\ud83d\ude00\/\b\f\n\r\t\"\\"]"#;
    let expected: Json = serde_json::from_str(escaped).unwrap();
    assert_eq!(parse::<Json>(escaped).unwrap(), expected);
}

/// The same texts are accepted as JSON here as in `serde_json`, and no others.
#[test]
fn what_is_no_json_is_refused() {
    for text in [
        "{",
        "[1,]",
        "[1 2]",
        "{\"a\"}",
        "{\"a\":}",
        "{a:1}",
        "01",
        "1.",
        ".5",
        "+1",
        "-",
        "1e",
        "0x1",
        "tru",
        "truer",
        "nul",
        "\"",
        "\"\\x\"",
        "\"\\ud800\"",
        "\"\\ud800\\u0041\"",
        "\"\n\"",
        "\"\\u+123\"",
        "1 2",
        "[]]",
        "--1",
        "1-1",
        "1e5.5",
        "[",
        "{\"a\":1,}",
        ",",
    ] {
        assert!(serde_json::from_str::<Json>(text).is_err(), "{text}");
        let refused = parse::<Json>(text).unwrap_err();
        assert!(
            refused.starts_with("the config is not JSON: see byte "),
            "{refused}"
        );
    }
    for text in ["0", "-0.0e-5", "1E5", "[[],{}]", "\"\"", " [ 1 , 2 ] "] {
        let expected: Json = serde_json::from_str(text).unwrap();
        assert_eq!(parse::<Json>(text).unwrap(), expected);
    }
}

/// An endlessly nested config does not kill the plugin.
#[test]
fn depth_is_bounded() {
    let nested = |depth| "[".repeat(depth) + &"]".repeat(depth);
    assert!(parse::<Json>(&nested(127)).is_ok());
    assert!(serde_json::from_str::<Json>(&nested(127)).is_ok());
    assert_eq!(
        parse::<Json>(&nested(100_000)).unwrap_err(),
        "the config is nested deeper than 128"
    );
}
