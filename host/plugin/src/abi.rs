//! The versions of the contract: finds the one that a component is built for, and checks that it
//! fits.
//!
//! There is one module for each folder of `wit`. A new version converts to the newest one's types;
//! logic exists once.

use wasmtime::component::Component;

use crate::error::LoadError;

pub(crate) mod v0_1;

/// The versions that this collector knows, as they are shown.
const KNOWN: &[&str] = &["0.1"];
/// The contract's package.
const PACKAGE: &str = "spandrel:plugin/";
/// The interfaces that a plugin must export.
const EXPORTS: &[&str] = &["lifecycle", "traces"];
/// The packages of WASI 0.2 that are linked.
const WASI: &[&str] = &["cli", "clocks", "filesystem", "io", "random", "sockets"];

/// Checks a component's imports and exports by name. Returns the first kind of problem, with all
/// cases.
pub(crate) fn check(module: &str, component: &Component) -> Result<(), LoadError> {
    let engine = component.engine();
    let ty = component.component_type();
    let imports: Vec<&str> = ty.imports(engine).map(|(name, _)| name).collect();
    let exports: Vec<&str> = ty.exports(engine).map(|(name, _)| name).collect();
    check_names(module, &imports, &exports)
}

fn check_names(module: &str, imports: &[&str], exports: &[&str]) -> Result<(), LoadError> {
    let module = || module.to_owned();
    // A plugin of another version shows it in its exports; a message about its imports would only
    // confuse.
    let versions = exports.iter().chain(imports).filter_map(|name| {
        let name = name.strip_prefix(PACKAGE)?;
        Some(
            name.split_once('@')
                .map_or("(none)", |(_, version)| version),
        )
    });
    for version in versions {
        if !KNOWN.iter().any(|known| is_compatible(version, known)) {
            return Err(LoadError::UnknownAbi {
                module: module(),
                found: version.to_owned(),
                known: KNOWN.to_vec(),
            });
        }
    }
    let foreign: Vec<String> = imports
        .iter()
        .filter(|name| !is_offered(name))
        .map(|name| (*name).to_owned())
        .collect();
    if !foreign.is_empty() {
        return Err(LoadError::Imports {
            module: module(),
            imports: foreign,
        });
    }
    let missing: Vec<String> = EXPORTS
        .iter()
        .filter(|wanted| {
            !exports.iter().any(|name| {
                name.strip_prefix(PACKAGE)
                    .and_then(|name| name.split_once('@'))
                    .is_some_and(|(interface, _)| interface == **wanted)
            })
        })
        .map(|wanted| format!("{PACKAGE}{wanted}@0.1"))
        .collect();
    if !missing.is_empty() {
        return Err(LoadError::Exports {
            module: module(),
            exports: missing,
        });
    }
    Ok(())
}

/// Returns true if `version` is `known` or a patch of it.
fn is_compatible(version: &str, known: &str) -> bool {
    version
        .strip_prefix(known)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

fn is_offered(import: &str) -> bool {
    let Some((name, version)) = import.split_once('@') else {
        return false;
    };
    if let Some(interface) = name.strip_prefix(PACKAGE) {
        // `types` has no functions; it comes along with `host`.
        return matches!(interface, "host" | "types");
    }
    let package = name
        .strip_prefix("wasi:")
        .and_then(|rest| rest.split_once('/'));
    package.is_some_and(|(package, _)| WASI.contains(&package)) && is_compatible(version, "0.2")
}

#[cfg(test)]
mod tests {
    use super::check_names;

    const EXPORTS: [&str; 2] = [
        "spandrel:plugin/lifecycle@0.1.0",
        "spandrel:plugin/traces@0.1.3",
    ];

    fn refusal(imports: &[&str], exports: &[&str]) -> String {
        let checked = check_names("p.wasm", imports, exports);
        checked.expect_err("refused").to_string()
    }

    /// The imports of a std guest of any 0.1.x are accepted.
    #[test]
    fn the_contract_and_wasi_are_accepted() {
        let imports = [
            "spandrel:plugin/types@0.1.0",
            "spandrel:plugin/host@0.1.2",
            "wasi:cli/environment@0.2.9",
            "wasi:io/poll@0.2.3",
        ];
        assert!(check_names("p.wasm", &imports, &EXPORTS).is_ok());
    }

    /// The message lists every import that is not offered, all at once.
    #[test]
    fn all_foreign_imports_are_listed() {
        let imports = [
            "wasi:cli/environment@0.2.0",
            "wasi:http/outgoing-handler@0.2.0",
            "wasi:cli/stdout@0.3.0",
            "acme:files/disk",
        ];
        assert_eq!(
            refusal(&imports, &EXPORTS),
            "plugin `p.wasm` imports what this collector does not offer: \
             wasi:http/outgoing-handler@0.2.0, wasi:cli/stdout@0.3.0, acme:files/disk. Plugins get \
             spandrel:plugin/host@0.1 and WASI 0.2 without files, sockets, environment or arguments"
        );
    }

    /// A plugin for another version is refused for its version, whatever else it imports.
    #[test]
    fn another_version_comes_before_its_imports() {
        assert_eq!(
            refusal(
                &["acme:files/disk", "spandrel:plugin/host@0.10.0"],
                &["spandrel:plugin/traces@0.10.0"]
            ),
            "plugin `p.wasm` is built for spandrel:plugin@0.10.0, this collector knows 0.1: \
             build it with the SDK of one of these versions"
        );
    }

    /// The message lists every missing export.
    #[test]
    fn all_missing_exports_are_listed() {
        assert_eq!(
            refusal(&[], &["wasi:cli/run@0.2.0"]),
            "plugin `p.wasm` does not export spandrel:plugin/lifecycle@0.1, \
             spandrel:plugin/traces@0.1: implement the `plugin` world, or use `export!` of the SDK"
        );
    }
}
