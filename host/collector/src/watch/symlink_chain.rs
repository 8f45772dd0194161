//! Finds the paths that decide which file a name leads to.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::path::{Component, Path, PathBuf};

/// The most symbolic links that are followed for one file, as many as Linux follows.
const LINKS: usize = 40;

/// Returns every symbolic link on the way to a file, and the file itself, by their real paths. The
/// file that `path` leads to changes only if one of these is changed or replaced.
pub(crate) fn symlink_chain(path: &Path) -> Vec<PathBuf> {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let mut rest = parts(&absolute);
    let mut real = PathBuf::from("/");
    let mut found = Vec::new();
    while let Some(part) = rest.pop_front() {
        if part == ".." {
            real.pop();
            continue;
        }
        real.push(part);
        let Ok(target) = std::fs::read_link(&real) else {
            continue;
        };
        found.push(real.clone());
        if found.len() >= LINKS {
            return found;
        }
        real.pop();
        if target.is_absolute() {
            real = PathBuf::from("/");
        }
        let mut followed = parts(&target);
        followed.append(&mut rest);
        rest = followed;
    }
    found.push(real);
    found
}

/// Returns the steps of a path, without those that go nowhere.
fn parts(path: &Path) -> VecDeque<OsString> {
    let named = path.components().filter_map(|component| match component {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        Component::CurDir | Component::RootDir | Component::Prefix(_) => None,
    });
    named.collect()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::symlink_chain;

    /// Links to directories and files are followed, and each is named by its real path.
    #[test]
    fn every_link_on_the_way_is_named() {
        let directory = tempfile::tempdir().expect("a directory");
        let root = directory.path().canonicalize().expect("a real path");
        fs::create_dir_all(root.join("real/deep")).expect("made");
        symlink("real/deep", root.join("link")).expect("linked");
        symlink("../file", root.join("real/deep/name")).expect("linked");
        assert_eq!(
            symlink_chain(&root.join("link/./name")),
            [
                root.join("link"),
                root.join("real/deep/name"),
                root.join("real/file")
            ]
        );
    }

    /// A path that does not exist is on the trail, too. Links in a circle end.
    #[test]
    fn what_is_not_there_and_circles_end() {
        let directory = tempfile::tempdir().expect("a directory");
        let root = directory.path().canonicalize().expect("a real path");
        assert_eq!(symlink_chain(&root.join("a/b")), [root.join("a/b")]);
        symlink("circle", root.join("circle")).expect("linked");
        assert_eq!(symlink_chain(&root.join("circle")).len(), 40);
    }
}
