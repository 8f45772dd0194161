//! The stage's `config`, read into the plugin's type.
//!
//! The host writes a number into the JSON as it stands in the operator's file, and what stands in
//! quotes there as a text. So a type decides what it gets: a `String` gets `1.10` as it was written, a
//! `u32` also gets `"4711"`, which is a variable in quotes.

mod json;
mod number;
mod read;
#[cfg(test)]
mod tests;

use serde::de::DeserializeOwned;

use json::Node;

/// Scalars that are tried as texts when the config does not fit as it stands: each is a reading of all of it.
const MOST_TRIED: usize = 256;
/// Scalars that are read for that, all readings together: some hundred milliseconds.
const MOST_READ: usize = 2_000_000;

/// Reads the JSON. A stage without a config has the same as one with an empty map.
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

/// Reads a config some of whose texts serde does not ask for. In untagged and internally tagged enums and under
/// `flatten` it takes each value as it stands, and finds out later that a text was wanted. So numbers and booleans
/// become texts one by one until all of it can be read; then those that need not be texts become again what
/// they were.
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

/// One of the single values of the tree, by its place among them.
fn scalar<'n, 'j>(tree: &'n mut Node<'j>, place: usize) -> Option<&'n mut Node<'j>> {
    let mut found = Vec::new();
    tree.scalars(&mut found);
    found.into_iter().nth(place)
}

/// What serde says of a text in the place of something else.
const TEXT_UNWANTED: &str = "invalid type: string";
