//! Generates the bindings from `wit/v0.1`, into the folder for build output.

use std::error::Error;
use std::path::Path;
use std::{env, fs};

use wit_bindgen_core::wit_parser::Resolve;
use wit_bindgen_core::{Files, WorldGenerator as _};
use wit_bindgen_rust::Opts;

/// The contract.
const WIT: &str = "../../wit/v0.1";

/// The lints do not hold for generated code.
const HEADER: &str = r#"//! The contract of `wit/v0.1` in Rust, as `wit-bindgen` generates it. It is not edited by hand:
//! `cargo run -p spandrel-bindings` writes this file. So the authors of plugins need not build the
//! generator.
#![allow(
    unsafe_code,
    missing_docs,
    missing_debug_implementations,
    unreachable_pub,
    unused_qualifications,
    dead_code,
    clippy::all,
    clippy::pedantic,
    clippy::restriction,
    reason = "generated code"
)]

"#;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed={WIT}");
    let mut resolve = Resolve::default();
    let (package, _) = resolve.push_path(WIT)?;
    let world = resolve.select_world(&[package], Some("plugin"))?;
    let options = Opts {
        format: true,
        pub_export_macro: true,
        export_macro_name: Some("__export_world".to_owned()),
        default_bindings_module: Some("spandrel_guest::bindings".to_owned()),
        runtime_path: Some("wit_bindgen::rt".to_owned()),
        ..Opts::default()
    };
    let mut files = Files::default();
    options.build().generate(&mut resolve, world, &mut files)?;
    let (_, code) = files.iter().next().ok_or("the generator wrote nothing")?;
    let bindings = [HEADER.as_bytes(), code].concat();
    let out = env::var_os("OUT_DIR").ok_or("cargo sets OUT_DIR")?;
    fs::write(Path::new(&out).join("bindings.rs"), bindings)?;
    Ok(())
}
