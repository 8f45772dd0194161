//! `durability` of a pipeline: its senders get their OK once the batch is on disk.

use std::path::{Path, PathBuf};
use std::time::Duration;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::id::Id;
use crate::text::scalar;
use crate::text::section::Section;

/// The settings of a pipeline that keeps on disk what it has accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Durability {
    /// The folder of this pipeline alone: `dir` with the pipeline's name below it.
    pub dir: PathBuf,
    /// The time at which written data is on disk.
    pub sync: SyncMode,
    /// The limit on all files of all logs together.
    pub max_bytes: u64,
    /// The age after which records are given up; `None` keeps them for as long as there is room.
    pub max_age: Option<Duration>,
    /// If true, a damaged record ends the start instead of being counted and left out.
    pub strict: bool,
}

/// The time at which written data is on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SyncMode {
    /// Data is synced before the sender gets its OK. Senders that come together share a sync.
    Group,
    /// Data is synced at this interval. A crash of the machine may lose the data since the last
    /// sync; a crash of this process does not.
    Interval(Duration),
    /// The system syncs data whenever it likes.
    None,
}

/// The default of `max_bytes`: some hours of a busy collector whose backend is down, and less than
/// the free space of most disks.
const MAX_BYTES: u64 = 10 << 30;
/// The shortest `max_age`, because records that are too old are looked for once a minute.
const LEAST_AGE: Duration = Duration::from_secs(60);
/// Room for the segments that each log of a pipeline has at any time.
pub(crate) const LEAST_BYTES: u64 = 32 << 20;
/// The longest name of a folder that file systems take.
const LONGEST_NAME: usize = 255;
/// The characters that stay unencoded in the name of a folder.
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC.remove(b'_').remove(b'-').remove(b'.');

pub(super) fn read(id: Option<&Id>, section: &Section<'_>) -> Option<Durability> {
    section.required("dir", "/var/lib/spandrel");
    let dir = section.string("dir");
    let interval = section
        .node("sync_interval")
        .map(|_| section.duration_positive("sync_interval", EVERY_SECOND));
    let modes = [
        ("group", SyncMode::Group),
        (
            "interval",
            SyncMode::Interval(interval.unwrap_or(EVERY_SECOND)),
        ),
        ("none", SyncMode::None),
    ];
    let sync = section.choice("sync", SyncMode::Group, &modes);
    if interval.is_some() && !matches!(sync, SyncMode::Interval(_)) {
        section.wrong_key(
            "sync_interval",
            "means something with `sync: interval` only",
            "remove it, or write `sync: interval`",
        );
    }
    let max_bytes = section.parsed("max_bytes", bytes).unwrap_or(MAX_BYTES);
    if max_bytes < LEAST_BYTES {
        section.wrong_key(
            "max_bytes",
            format!("{max_bytes} bytes are too few for the segments of the logs"),
            format!("write at least {}MiB", LEAST_BYTES >> 20),
        );
    }
    let max_age = match section.duration("max_age", Duration::ZERO) {
        Duration::ZERO => Duration::ZERO,
        _ => section.duration_least(
            "max_age",
            LEAST_AGE,
            (LEAST_AGE, "age is looked at each minute"),
        ),
    };
    let strict = section.boolean("strict", false);
    let dir = dir?;
    if dir.is_empty() {
        section.wrong_key(
            "dir",
            "must be a path",
            "write one such as /var/lib/spandrel",
        );
        return None;
    }
    let name = folder_name(id?.as_str());
    if name.len() > LONGEST_NAME {
        section.wrong(
            "the pipeline's name is too long for the name of a folder",
            "give the pipeline a shorter name",
        );
    }
    Some(Durability {
        dir: Path::new(&dir).join(name),
        sync,
        max_bytes,
        max_age: (!max_age.is_zero()).then_some(max_age),
        strict,
    })
}

const EVERY_SECOND: Duration = Duration::from_secs(1);

/// Encodes a name as one part of a path.
pub(crate) fn folder_name(name: &str) -> String {
    utf8_percent_encode(name, PLAIN).to_string()
}

/// Parses a number of bytes, or a size with its unit.
fn bytes(text: &str) -> Result<u64, String> {
    let instead = || "write a number of bytes, or a size such as 512MiB or 10GiB".to_owned();
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at_checked(digits).ok_or_else(instead)?;
    let factor: u64 = match unit.trim_start() {
        "" | "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        "TiB" => 1 << 40,
        "KB" | "kB" => 1_000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        "TB" => 1_000_000_000_000,
        _ => return Err(instead()),
    };
    let number = scalar::integer(number).and_then(|number| u64::try_from(number).ok());
    number
        .and_then(|number| number.checked_mul(factor))
        .ok_or_else(instead)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sizes are read with and without their unit, and nothing else is a size.
    #[test]
    fn sizes_are_read() {
        for (text, size) in [
            ("1048576", 1 << 20),
            ("64MiB", 64 << 20),
            ("10 GiB", 10 << 30),
            ("1TiB", 1 << 40),
            ("5GB", 5_000_000_000),
            ("0", 0),
        ] {
            assert_eq!(bytes(text), Ok(size), "{text}");
        }
        for text in ["", "GiB", "10G", "-1", "1.5GiB", "ten", "99999999999GiB"] {
            assert!(bytes(text).is_err(), "{text}");
        }
    }

    /// Every pipeline's name is one part of a path, and no two of these are the same.
    #[test]
    fn a_name_is_one_folder() {
        assert_eq!(folder_name("traces"), "traces");
        assert_eq!(folder_name("traces/2"), "traces%2F2");
        assert_eq!(folder_name("traces/../x"), "traces%2F..%2Fx");
        assert_eq!(folder_name("traces/%2F"), "traces%2F%252F");
    }
}
