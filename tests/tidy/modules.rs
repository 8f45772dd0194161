//! Inside a crate, too, arrows go one way: the modules beside each other never need each other in a
//! circle. A module and its submodules count as one piece, so a parent may use its children, and
//! they may use it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::source::{code, paths};
use crate::tree::{files, report};

/// A module's path in its crate: one name for each level.
type Module = Vec<String>;

/// A crate's modules, and the modules that each one uses. Tests are left out.
#[derive(Default)]
struct Modules {
    uses: BTreeMap<Module, BTreeSet<Module>>,
}

impl Modules {
    /// Reads the modules from the text of each file, by its path below `src`.
    fn read(files: &[(String, String)]) -> Self {
        let mut texts = BTreeMap::new();
        for (path, text) in files {
            let module: Module = path.split('/').map(str::to_owned).collect();
            let module = match path.as_str() {
                "lib" => Module::new(),
                "main" => continue,
                _ => module,
            };
            if !module.iter().any(|name| name == "tests") {
                texts.insert(module, code(text));
            }
        }
        let known: BTreeSet<Module> = texts.keys().cloned().collect();
        let uses = texts.iter().map(|(module, text)| {
            let used = paths(text).into_iter().filter_map(|path| {
                let used = resolved(module, &path, &known)?;
                (used != *module).then_some(used)
            });
            (module.clone(), used.collect())
        });
        Self {
            uses: uses.collect(),
        }
    }

    /// Returns the arrows between the modules directly below `parent`, each with an example.
    fn beside(&self, parent: &[String]) -> BTreeMap<String, BTreeMap<String, String>> {
        let below = |module: &Module| match module.strip_prefix(parent) {
            Some([name, ..]) => Some(name.clone()),
            _ => None,
        };
        let mut arrows: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
        for (module, used) in &self.uses {
            let Some(from) = below(module) else { continue };
            for to in used {
                let Some(name) = below(to).filter(|name| *name != from) else {
                    continue;
                };
                let example = format!("{} uses {}", module.join("::"), to.join("::"));
                arrows
                    .entry(from.clone())
                    .or_default()
                    .insert(name, example);
            }
        }
        arrows
    }

    /// Returns each circle of modules beside each other, as the arrows in it.
    fn circles(&self, folder: &str) -> Vec<String> {
        let parents: BTreeSet<&[String]> = self
            .uses
            .keys()
            .flat_map(|module| (0..module.len()).map(|depth| &module[..depth]))
            .collect();
        let mut found = Vec::new();
        for parent in parents {
            let arrows = self.beside(parent);
            let place = [&[folder.to_owned()], parent].concat().join("/");
            for (from, targets) in &arrows {
                for (to, example) in targets {
                    if reaches(&arrows, to, from) {
                        found.push(format!("{place}: {example}"));
                    }
                }
            }
        }
        found
    }
}

/// Returns true if a chain of arrows leads from one module to another.
fn reaches(arrows: &BTreeMap<String, BTreeMap<String, String>>, from: &str, to: &str) -> bool {
    let (mut seen, mut next) = (BTreeSet::new(), vec![from]);
    while let Some(name) = next.pop() {
        if name == to {
            return true;
        }
        if seen.insert(name) {
            let targets = arrows.get(name).into_iter().flat_map(BTreeMap::keys);
            next.extend(targets.map(String::as_str));
        }
    }
    false
}

/// Returns the module that a path in the code of `module` leads to; `None` if it leads out of the
/// crate.
fn resolved(module: &Module, path: &[String], known: &BTreeSet<Module>) -> Option<Module> {
    let (first, mut rest) = path.split_first()?;
    let mut at = match first.as_str() {
        "crate" => Module::new(),
        "self" => module.clone(),
        "super" => module[..module.len().checked_sub(1)?].to_vec(),
        child => {
            let child = [module.as_slice(), &[child.to_owned()]].concat();
            known.contains(&child).then_some(child)?
        }
    };
    while let [name, after @ ..] = rest {
        if name == "super" {
            at.pop();
        } else {
            let deeper = [at.as_slice(), std::slice::from_ref(name)].concat();
            if !known.contains(&deeper) {
                break;
            }
            at = deeper;
        }
        rest = after;
    }
    Some(at)
}

/// Modules beside each other form no circle, in any crate of the host, of the guest's kit and of the
/// examples.
#[test]
fn modules_form_no_circle() {
    let mut crates: BTreeMap<String, Vec<(String, String)>> = BTreeMap::new();
    for file in files().into_iter().filter(|file| file.is("rs")) {
        let path = file.path.with_extension("");
        let ours = ["host", "guest", "examples"]
            .iter()
            .any(|it| file.under(it));
        let Some(at) = path.iter().position(|part| part == "src").filter(|_| ours) else {
            continue;
        };
        let folder: std::path::PathBuf = path.iter().take(at + 1).collect();
        let inside = path.strip_prefix(&folder).unwrap_or(Path::new(""));
        let entry = crates.entry(folder.display().to_string()).or_default();
        entry.push((inside.display().to_string(), file.text));
    }
    assert!(crates.len() > 8, "the crates were not found");
    let circles = crates
        .iter()
        .flat_map(|(folder, files)| Modules::read(files).circles(folder));
    report("modules that need each other", circles);
}

fn circles(files: &[(&str, &str)]) -> Vec<String> {
    let own = |(path, text): &(&str, &str)| ((*path).to_owned(), (*text).to_owned());
    let files: Vec<_> = files.iter().map(own).collect();
    Modules::read(&files).circles("a/src")
}

/// A circle of two modules is found, in `use` trees and in the code; and so is a longer one, between
/// folders.
#[test]
fn a_circle_is_found() {
    let pair = [
        ("lib", "mod a; mod b;"),
        ("a", "use crate::{c::C, b::{self, B}};"),
        ("b", "fn f() -> super::a::A { todo() }"),
    ];
    assert_eq!(circles(&pair), ["a/src: a uses b", "a/src: b uses a"]);
    let three = [
        ("lib", "mod a; mod b; mod c;"),
        ("a/x", "use super::super::b::B;"),
        ("a", "mod x;"),
        ("b", "use crate::c;"),
        ("c", "use crate::a::x;"),
    ];
    assert_eq!(circles(&three).len(), 3);
    let deep = [
        ("lib", "mod a;"),
        ("a", "mod x; mod y;"),
        ("a/x", "use super::y;"),
        ("a/y", "use crate::a::x;"),
    ];
    assert_eq!(circles(&deep).len(), 2);
}

/// Parents and children, comments, texts and tests make no circle.
#[test]
fn other_uses_are_no_circle() {
    let files = [
        ("lib", "mod a; mod b;"),
        ("a", "mod x; use self::x::X; use crate::b;"),
        ("a/x", "use super::A; use crate::a::A as B;"),
        ("a/tests", "use crate::b;"),
        (
            "b",
            "// crate::a\nconst T: &str = \"crate::a\";\n#[cfg(test)]\nmod tests { use crate::a; }\n",
        ),
    ];
    assert_eq!(circles(&files), Vec::<String>::new());
}
