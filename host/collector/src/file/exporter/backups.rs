//! Rotated files, with the names that the OpenTelemetry Collector gives them: `traces.json` becomes
//! `traces-2026-11-29T10-15-00.000.json`.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use spandrel_config::exporter::file::Rotation;

use crate::time_text::rfc3339;

/// The number of bytes of a time in a name.
const STAMP: usize = "2026-11-29T10-15-00.000".len();

/// The number of names to try. Two rotations in a millisecond need two.
const TRIES: u32 = 1000;

/// Renames the file to the name of a backup that does not exist yet, and returns that name.
///
/// # Errors
/// It cannot be renamed.
pub(crate) fn put_aside(path: &Path) -> io::Result<PathBuf> {
    let mut now = SystemTime::now();
    for _ in 0..TRIES {
        let backup = path.with_file_name(name(path, &stamp(now)));
        if !backup.exists() {
            fs::rename(path, &backup)?;
            return Ok(backup);
        }
        now += Duration::from_millis(1);
    }
    Err(io::Error::other("there are backups of every name"))
}

/// Removes the oldest backups beyond `max_backups`, and all older than `max_days`.
pub(crate) fn clean_up(path: &Path, rotation: &Rotation) {
    let mut stamps = match find(path) {
        Ok(stamps) => stamps,
        Err(error) => {
            let error: &dyn std::error::Error = &error;
            tracing::warn!(path = %path.display(), error, "backups of a file cannot be listed");
            return;
        }
    };
    // Times in this format sort by time. The newest comes first.
    stamps.sort_unstable_by(|one, other| other.cmp(one));
    let most = match rotation.max_backups {
        0 => usize::MAX,
        most => most,
    };
    let oldest = match rotation.max_days {
        0 => None,
        days => SystemTime::now().checked_sub(Duration::from_secs(days * 86_400)),
    };
    let oldest = oldest.map(stamp).unwrap_or_default();
    let stays = |(index, stamp): (usize, &String)| index < most && *stamp >= oldest;
    let stay = stamps.iter().enumerate().take_while(|entry| stays(*entry));
    let stay = stay.count();
    for stamp in stamps.iter().skip(stay) {
        let backup = path.with_file_name(name(path, stamp));
        match fs::remove_file(&backup) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                let error: &dyn std::error::Error = &error;
                tracing::warn!(backup = %backup.display(), error, "backup of a file cannot be removed");
            }
            _ => tracing::info!(backup = %backup.display(), "backup of a file removed"),
        }
    }
}

/// Returns the times of all backups.
fn find(path: &Path) -> io::Result<Vec<String>> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let mut stamps = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if let Some(stamp) = stamp_of(path, &entry.file_name()) {
            stamps.push(stamp);
        }
    }
    Ok(stamps)
}

/// Returns the time in the name of a backup; `None` for another file.
fn stamp_of(path: &Path, name: &OsStr) -> Option<String> {
    let (stem, extension) = parts(path);
    let bytes = name.as_encoded_bytes();
    let rest = bytes.strip_prefix(stem.as_encoded_bytes())?;
    let rest = rest.strip_prefix(b"-")?;
    let stamp = rest.strip_suffix(extension.as_encoded_bytes())?;
    let has_form = stamp.len() == STAMP
        && stamp.iter().enumerate().all(|(at, byte)| match at {
            4 | 7 | 13 | 16 => *byte == b'-',
            10 => *byte == b'T',
            19 => *byte == b'.',
            _ => byte.is_ascii_digit(),
        });
    has_form.then(|| String::from_utf8_lossy(stamp).into_owned())
}

fn name(path: &Path, stamp: &str) -> OsString {
    let (stem, extension) = parts(path);
    let mut name = stem;
    name.push("-");
    name.push(stamp);
    name.push(extension);
    name
}

/// Returns the name of a file without its extension, and the extension with its dot.
fn parts(path: &Path) -> (OsString, OsString) {
    let stem = path.file_stem().unwrap_or_default().to_owned();
    let extension = path.extension().map(|extension| {
        let mut dotted = OsString::from(".");
        dotted.push(extension);
        dotted
    });
    (stem, extension.unwrap_or_default())
}

fn stamp(time: SystemTime) -> String {
    rfc3339(time).replace(':', "-").replace('Z', "")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Names are the Collector's, and no other file counts as a backup.
    #[test]
    fn names_are_those_of_the_collector() {
        let time = SystemTime::UNIX_EPOCH + Duration::from_millis(1_663_131_734_173);
        for (path, backup) in [
            ("data.json", "data-2022-09-14T05-02-14.173.json"),
            ("/var/a.b/data", "data-2022-09-14T05-02-14.173"),
            ("a.tar.gz", "a.tar-2022-09-14T05-02-14.173.gz"),
        ] {
            let path = Path::new(path);
            let made = name(path, &stamp(time));
            assert_eq!(made, backup);
            assert_eq!(
                stamp_of(path, &made),
                Some("2022-09-14T05-02-14.173".to_owned())
            );
        }
        for other in [
            "data.json",
            "data-old.json",
            "data-2022-09-14T05-02-14.173.json.gz",
            "data-2022-09-14T05:02:14.173.json",
            "mydata-2022-09-14T05-02-14.173.json",
            "data-2-2022-09-14T05-02-14.173.json",
        ] {
            assert_eq!(
                stamp_of(Path::new("data.json"), other.as_ref()),
                None,
                "{other}"
            );
        }
    }
}
