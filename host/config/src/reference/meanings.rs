//! The meaning of each key in a sentence, and its name in the Collector.

use crate::text::tree::join;

/// The table: a line in brackets is the path of a section, and each line below it is a key of that
/// section, its name in the Collector, and its meaning.
const TABLE: &str = include_str!("meanings.txt");

/// The meaning of a key.
pub(super) struct Meaning {
    /// The path of the key, in which names that operators choose are replaced.
    pub(super) path: String,
    /// `same`, `none`, or the name in the Collector.
    pub(super) in_collector: &'static str,
    /// The sentences.
    pub(super) text: &'static str,
}

/// Returns the meanings in the order of the table.
pub(super) fn all() -> impl Iterator<Item = Meaning> {
    let mut section = "";
    TABLE.lines().filter_map(move |line| {
        if let Some(path) = line
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'))
        {
            section = path;
            return None;
        }
        let mut fields = line.splitn(3, '|').map(str::trim);
        let (key, in_collector, text) = (fields.next()?, fields.next()?, fields.next()?);
        (!key.starts_with('#')).then(|| Meaning {
            path: join(section, key),
            in_collector,
            text,
        })
    })
}
