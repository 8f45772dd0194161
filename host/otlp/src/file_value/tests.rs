use tokio::time::Instant;

use super::*;

/// Makes a `FileValue` of two files that must hold the same number.
fn twins(folder: &Path) -> FileValue<u32> {
    let paths = ["a", "b"].map(|name| folder.join(name));
    let [a, b] = paths.clone();
    let made = FileValue::new(
        ContentKind::Certificate,
        "test",
        paths.to_vec(),
        Duration::from_secs(3600),
        move |files| {
            let a = files.text(&a, "a number")?;
            let same = a == files.text(&b, "a number")?;
            let number = a.parse().ok().filter(|_| same);
            number.ok_or_else(|| FileError::unusable("numbers", &b, "not twins"))
        },
    );
    made.expect("twins")
}

fn write(folder: &Path, a: &str, b: &str) {
    std::fs::write(folder.join("a"), a).expect("written");
    std::fs::write(folder.join("b"), b).expect("written");
}

fn bad(of: &FileValue<u32>) -> Option<bool> {
    let seen = of.shared.known.lock();
    seen.bad.as_ref().map(|bad| bad.is_logged)
}

/// New content that is good comes into force. Bad content does not: it is logged the second time it
/// is seen, and only once. A caller that took the old value keeps it.
#[tokio::test]
async fn the_last_good_one_is_in_force() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    write(folder, "1", "1");
    let twins = twins(folder);
    let taken = twins.current();
    assert!(!twins.read_again().await, "nothing changed");
    write(folder, "2", "1");
    for said in [false, true, true] {
        assert!(!twins.read_again().await);
        assert_eq!((*twins.current(), bad(&twins)), (1, Some(said)));
    }
    write(folder, "2", "2");
    assert!(twins.read_again().await);
    assert_eq!((*twins.current(), bad(&twins)), (2, None));
    std::fs::remove_file(folder.join("a")).expect("removed");
    assert!(!twins.read_again().await);
    assert_eq!((*twins.current(), bad(&twins)), (2, Some(false)));
    write(folder, "2", "2");
    assert!(!twins.read_again().await, "the same is there again");
    assert_eq!((*twins.current(), bad(&twins), *taken), (2, None, 1));
}

/// A half-written file does not come into force, even if that half is valid by itself; the complete
/// file does.
#[tokio::test(start_paused = true)]
async fn half_a_file_is_not_in_force() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    write(folder, "1", "1");
    let twins = twins(folder);
    write(folder, "23", "23");
    let begun = Instant::now();
    let (changed, ()) = tokio::join!(twins.read_again(), async {
        sleep(SETTLE / 2).await;
        assert_eq!(*twins.current(), 1);
        write(folder, "2345", "2345");
        sleep(SETTLE).await;
        assert_eq!(*twins.current(), 1, "it was there for one read only");
    });
    assert!(changed);
    assert_eq!((*twins.current(), begun.elapsed()), (2345, SETTLE * 2));
}

/// A file that never stops changing is left alone, and the look at it still ends.
#[tokio::test(start_paused = true)]
async fn a_file_that_never_settles_is_left_alone() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    write(folder, "1", "1");
    let twins = twins(folder);
    let restless = async {
        for number in 2_u32.. {
            write(folder, &number.to_string(), &number.to_string());
            sleep(SETTLE / 2).await;
        }
    };
    tokio::select! {
        changed = twins.read_again() => assert!(!changed),
        () = restless => {}
    }
    assert_eq!(*twins.current(), 1);
}

/// A symbolic link to a folder that moves, as in a Kubernetes volume, is a change of the files.
#[tokio::test]
async fn a_link_that_moves_is_a_change() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    for (name, number) in [("old", "1"), ("new", "2")] {
        std::fs::create_dir(folder.join(name)).expect("made");
        write(&folder.join(name), number, number);
    }
    let link = folder.join("data");
    std::os::unix::fs::symlink("old", &link).expect("linked");
    let twins = twins(&link);
    std::os::unix::fs::symlink("new", folder.join("next")).expect("linked");
    std::fs::rename(folder.join("next"), &link).expect("moved");
    assert!(twins.read_again().await);
    assert_eq!(*twins.current(), 2);
}

/// A file over the limit and a path that is not a regular file are refused at once.
#[test]
fn what_is_no_small_file_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("big");
    std::fs::write(&path, vec![b'x'; (1 << 20) + 1]).expect("written");
    for path in [&path, folder.path()] {
        read(path).expect_err("refused");
    }
}
