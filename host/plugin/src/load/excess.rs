//! The parts of which a component has too many, if the engine refuses it.

use spandrel_supply::text;

use crate::error::LoadError;
use crate::limits::{CORE_INSTANCES, MEMORIES, TABLE_ELEMENTS, TABLES};

/// The engine's words before and after a number, and the parts that it counts. The engine has no
/// type for this error; a test checks the words.
const WORDS: [(&str, &str, ComponentPart); 6] = [
    (
        "transitively contains ",
        " core module instances",
        ComponentPart::CoreInstances,
    ),
    (
        "transitively contains ",
        " Wasm linear memories",
        ComponentPart::Memories,
    ),
    ("transitively contains ", " tables", ComponentPart::Tables),
    (
        "defined memories count of ",
        " exceeds",
        ComponentPart::Memories,
    ),
    (
        "defined tables count of ",
        " exceeds",
        ComponentPart::Tables,
    ),
    (
        "has a minimum element size of ",
        " which exceeds",
        ComponentPart::Elements,
    ),
];

#[derive(Clone, Copy)]
enum ComponentPart {
    CoreInstances,
    Memories,
    Tables,
    Elements,
}

impl ComponentPart {
    fn name(self) -> &'static str {
        match self {
            Self::CoreInstances => "core instances",
            Self::Memories => "linear memories",
            Self::Tables => "tables",
            Self::Elements => "elements in one table",
        }
    }

    fn most(self) -> u64 {
        match self {
            Self::CoreInstances => CORE_INSTANCES.into(),
            Self::Memories => MEMORIES.into(),
            Self::Tables => TABLES.into(),
            Self::Elements => u64::try_from(TABLE_ELEMENTS).unwrap_or(u64::MAX),
        }
    }
}

/// Returns the error for a component that compiles and does not fit.
pub(super) fn of(module: &str, error: &wasmtime::Error) -> LoadError {
    let module = module.to_owned();
    let causes: Vec<String> = error.chain().map(ToString::to_string).collect();
    match causes.iter().find_map(|cause| count(cause)) {
        Some((found, part)) => LoadError::TooMuch {
            module,
            found,
            what: part.name(),
            most: part.most(),
        },
        None => LoadError::Unfit {
            module,
            problem: text::printable(&causes.join(": "), text::MESSAGE_BYTES),
        },
    }
}

fn count(cause: &str) -> Option<(u64, ComponentPart)> {
    WORDS.iter().find_map(|(before, after, part)| {
        let (_, rest) = cause.split_once(before)?;
        let (number, _) = rest.split_once(after)?;
        Some((number.parse().ok()?, *part))
    })
}
