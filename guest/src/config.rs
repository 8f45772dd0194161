//! Reads the stage's `config` into the plugin's type.
//!
//! The host writes an unquoted number into the JSON exactly as it stands in the operator's file,
//! and a quoted value as a text. So the type of the field decides: a `String` gets `1.10` as it was
//! written, and a `u32` also accepts `"4711"`, which is a variable in quotes.

mod json;
mod number;
mod read;
#[cfg(test)]
mod tests;

use serde::de::DeserializeOwned;

use json::Node;

/// The most scalars that are tried as texts when the config does not fit as it stands. Each try
/// reads the whole config.
const MOST_TRIED: usize = 256;
/// The most scalars that all these tries read together. They take some hundred milliseconds.
const MOST_READ: usize = 2_000_000;

/// Reads the JSON. A stage without a config is read as one with an empty map.
pub(crate) fn parse<C: DeserializeOwned>(text: &str) -> Result<C, String> {
    let text = match text.trim() {
        "" | "null" => "{}",
        given => given,
    };
    let mut tree = json::parse(text)?;
    match read(&tree) {
        Ok(config) => Ok(config),
        Err(wrong) => read_buffered(&mut tree).ok_or(wrong),
    }
}

fn read<C: DeserializeOwned>(tree: &Node<'_>) -> Result<C, String> {
    serde_path_to_error::deserialize(tree).map_err(|error| {
        let path = error.path().to_string();
        let what = error.into_inner();
        match path.as_str() {
            "." | "" => what.to_string(),
            _ => format!("{path}: {what}"),
        }
    })
}

/// Reads a config in which serde does not ask for some of the texts. For untagged and internally
/// tagged enums and for `flatten`, serde buffers each value as it stands and only later finds out
/// that a text was expected. So this function turns numbers and booleans into texts, one by one,
/// until the whole config can be read. Then it turns back those that need not be texts.
fn read_buffered<C: DeserializeOwned>(tree: &mut Node<'_>) -> Option<C> {
    let mut found = Vec::new();
    tree.scalars(&mut found);
    let most = MOST_READ / found.len().max(1);
    let mut changed = Vec::new();
    for place in 0..most.min(MOST_TRIED) {
        let scalar = scalar(tree, place)?;
        let Some(text) = scalar.to_text() else {
            continue;
        };
        changed.push((place, std::mem::replace(scalar, text)));
        match read::<C>(tree) {
            Ok(_) => return keep_what_is_needed(tree, changed),
            Err(wrong) if wrong.contains(TEXT_UNWANTED) => {
                let (_, before) = changed.pop()?;
                *self::scalar(tree, place)? = before;
            }
            Err(_) => {}
        }
    }
    None
}

fn keep_what_is_needed<'j, C: DeserializeOwned>(
    tree: &mut Node<'j>,
    changed: Vec<(usize, Node<'j>)>,
) -> Option<C> {
    for (place, before) in changed {
        let text = std::mem::replace(scalar(tree, place)?, before);
        if read::<C>(tree).is_err() {
            *scalar(tree, place)? = text;
        }
    }
    read(tree).ok()
}

/// Returns one scalar of the tree, by its position among all scalars.
fn scalar<'n, 'j>(tree: &'n mut Node<'j>, place: usize) -> Option<&'n mut Node<'j>> {
    let mut found = Vec::new();
    tree.scalars(&mut found);
    found.into_iter().nth(place)
}

/// The start of serde's message for a text where another type was expected.
const TEXT_UNWANTED: &str = "invalid type: string";
