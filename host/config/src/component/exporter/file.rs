//! `file`: the file for the lines, and its rotation.

use std::path::PathBuf;

use crate::text::section::Section;

/// Writes OTLP/JSON lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileExporter {
    /// The file.
    pub path: PathBuf,
    /// True if lines are appended to the content of the file instead of replacing it at the start.
    /// With rotation they always are, as in the Collector.
    pub append: bool,
    /// The rotation of the file; `None` for no rotation.
    pub rotation: Option<Rotation>,
}

/// The limits of rotation, with the Collector's names and defaults.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rotation {
    /// The maximum length of a file, in bytes. Only a single longer line exceeds it.
    pub max_bytes: u64,
    /// The age in days after which rotated files are removed; 0 for never.
    pub max_days: u64,
    /// The number of rotated files that stay; 0 for all.
    pub max_backups: usize,
}

pub(crate) fn read(section: &Section<'_>) -> Option<FileExporter> {
    section.choice("format", (), &[("json", ())]);
    section.not_offered("compression", "remove it");
    section.without_meaning(&["flush_interval"], "each batch is written when it comes");
    let append = section.boolean("append", false);
    let rotation = section
        .node("rotation")
        .map(|_| read_rotation(&section.section("rotation")));
    section.required("path", "/path/to/traces.jsonl");
    Some(FileExporter {
        path: PathBuf::from(section.string("path")?),
        append,
        rotation,
    })
}

fn read_rotation(section: &Section<'_>) -> Rotation {
    if section.boolean("localtime", false) {
        section.wrong_key(
            "localtime",
            "not offered: the names of backups have the time in UTC",
            "remove it",
        );
    }
    Rotation {
        max_bytes: section.integer("max_megabytes", 100, 1..=1 << 20) << 20,
        max_days: section.integer("max_days", 0, 0..=100_000),
        max_backups: section.integer("max_backups", 100, 0..=1 << 20),
    }
}
