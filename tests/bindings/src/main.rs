//! The SDK's bindings are generated from the contract once, and checked in: then a plugin's author
//! builds no generator. After a change of `wit/v0.1` or of the version of `wit-bindgen`, this
//! program writes them anew: `cargo run -p spandrel-bindings`.

use std::{fs, io};

/// The bindings, as the build script has just generated them.
const GENERATED: &str = include_str!(concat!(env!("OUT_DIR"), "/bindings.rs"));

/// The bindings that are checked in.
const CHECKED_IN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../guest/src/bindings.rs");

fn main() -> io::Result<()> {
    fs::write(CHECKED_IN, GENERATED)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The bindings that are checked in are those of the contract, by the generator in `Cargo.lock`.
    #[test]
    fn bindings_are_those_of_the_contract() {
        let checked_in = fs::read_to_string(CHECKED_IN).unwrap_or_default();
        assert!(
            checked_in == GENERATED,
            "guest/src/bindings.rs is out of date: run `cargo run -p spandrel-bindings`"
        );
    }
}
