//! Any text as a configuration is accepted, or refused with a message, quickly and the same each
//! time.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{Rng as _, SeedableRng as _};
use spandrel_config::Config;
use spandrel_config::source::Sources;
use spandrel_tests::artifacts::root;
use spandrel_tests::until::say;
use tokio::time::Instant;

use crate::number;

/// Values that have a special meaning, for places where they are not expected.
const ODD: [&str; 22] = [
    "",
    "~",
    "-1",
    "0",
    "18446744073709551616",
    "1e999",
    ".nan",
    "true",
    "[]",
    "{}",
    "[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[",
    "{a: {a: {a: {a: {a: {a: {a: {a: {a: 1}}}}}}}}}",
    "&a [*a, *a]",
    "*nobody",
    "!!binary AAAA",
    "${env:A}",
    "${env:A:-${env:B:-${C}}}",
    "${env:",
    "$$",
    "1s500ms",
    "\"\\u0000\"",
    "- - - -",
];

/// Configurations made out of good and bad ones (`SPANDREL_CONFIGS` of them, by default 20,000) are
/// accepted or refused: none panics, none takes long, and each refusal has a message.
#[test]
fn any_text_is_taken_or_refused() {
    let (good, bad) = texts();
    let (seed, count) = (
        number("SPANDREL_SEED", 1),
        number("SPANDREL_CONFIGS", 20_000),
    );
    let (mut taken, mut slowest) = (0_u64, Duration::ZERO);
    for index in 0..count {
        let mut rng = StdRng::seed_from_u64(seed << 40 | index);
        let seeds = if rng.random_ratio(3, 4) { &good } else { &bad };
        let text = made(&mut rng, seeds);
        let began = Instant::now();
        let loaded = std::panic::catch_unwind(|| load(&text));
        slowest = slowest.max(began.elapsed());
        let loaded = loaded.unwrap_or_else(|_| panic!("number {index}:\n{text}"));
        taken += u64::from(loaded.is_ok());
        if let Err(words) = loaded {
            assert!(
                !words.trim().is_empty(),
                "no words, number {index}:\n{text}"
            );
            if index % 64 == 0 {
                assert_eq!(load(&text), Err(words), "number {index}:\n{text}");
            }
        }
        assert!(slowest < Duration::from_secs(10), "number {index}:\n{text}");
    }
    say(&format!(
        "\n{count} configurations: {taken} taken, the slowest in {slowest:?}\n"
    ));
    assert!(taken > 0 && taken < count);
}

fn load(text: &str) -> Result<(), String> {
    let sources = Sources {
        configs: vec![format!("yaml:{text}")],
        sets: Vec::new(),
    };
    let variable = |name: &str| match name {
        "A" => Some("${env:A}".to_owned()),
        "B" => Some("{ x: [1, 2] }".to_owned()),
        _ => None,
    };
    match Config::load_with(&sources, &variable) {
        Ok(_) => Ok(()),
        Err(error) => Err(error.to_string()),
    }
}

/// Returns good configurations, and bad ones: those of the tests and of the examples.
fn texts() -> (Vec<String>, Vec<String>) {
    let folder = |folder: &str, file: &str| -> Vec<String> {
        let entries = root().join(folder).read_dir().unwrap();
        let paths = entries.map(|entry| entry.unwrap().path());
        let paths = paths.map(|path| match file {
            "" => path,
            file => path.join(file),
        });
        paths.flat_map(std::fs::read_to_string).collect()
    };
    let mut good = vec![spandrel_config::DEFAULT.to_owned()];
    good.extend(folder("tests/config/good", ""));
    good.extend(folder("examples", "spandrel.yaml"));
    let bad = folder("tests/config/bad", "");
    assert!(good.len() > 5 && bad.len() > 20);
    (good, bad)
}

fn made(rng: &mut StdRng, seeds: &[String]) -> String {
    let mut lines: Vec<String> = seeds.choose(rng).unwrap().lines().map(Into::into).collect();
    for _ in 0..rng.random_range(0..6) {
        let place = rng.random_range(0..=lines.len());
        match rng.random_range(0..8) {
            0 if place < lines.len() => drop(lines.remove(place)),
            1 if place < lines.len() => lines.insert(place, lines[place].clone()),
            2 => {
                let other: Vec<&str> = seeds.choose(rng).unwrap().lines().collect();
                let line = other.choose(rng).copied().unwrap_or_default();
                lines.insert(place, line.to_owned());
            }
            3 if place < lines.len() => lines[place].insert(0, ' '),
            4 if place < lines.len() => lines[place] = lines[place].trim_start().to_owned(),
            5 | 6 if place < lines.len() => odd(rng, &mut lines[place]),
            _ => {}
        }
    }
    let mut text = lines.join("\n");
    for _ in 0..rng.random_range(0..3) {
        bytes(rng, &mut text);
    }
    text
}

/// Replaces the value behind the key.
fn odd(rng: &mut StdRng, line: &mut String) {
    let value = ODD.choose(rng).unwrap();
    match line.find(": ").map(|place| place + 2) {
        Some(place) => line.truncate(place),
        None => line.push_str(": "),
    }
    line.push_str(value);
}

/// Changes a character somewhere.
fn bytes(rng: &mut StdRng, text: &mut String) {
    let places: Vec<usize> = text.char_indices().map(|(place, _)| place).collect();
    let Some(place) = places.choose(rng).copied() else {
        return;
    };
    let new = *b":{}[]#&*!|>'\"%@`,-?~$\t\n\0 a0".choose(rng).unwrap();
    match rng.random_range(0..3) {
        0 => text.insert(place, char::from(new)),
        1 => drop(text.remove(place)),
        _ => text.truncate(place),
    }
}
