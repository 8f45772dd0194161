use std::os::unix::fs::symlink;

use tempfile::TempDir;

use super::*;

fn mode(path: &Path) -> u32 {
    let meta = fs::symlink_metadata(path).expect("it is there");
    meta.mode() & 0o7777
}

fn private() -> TempDir {
    // Its mode is 0700.
    tempfile::tempdir().expect("a folder")
}

/// Only the owner can use the socket and the folder that is made for it. The socket is removed when
/// nobody listens any more, and nothing else is left behind.
#[tokio::test]
async fn the_socket_is_the_owners_alone() {
    let place = private();
    let folder = place.path().join("spandrel");
    let path = folder.join(NAME);
    let (listener, file) = bind(&path).await.expect("bound");
    assert_eq!((mode(&folder), mode(&path)), (0o700, 0o600));
    UnixStream::connect(&path).await.expect("somebody listens");
    let names: Vec<_> = fs::read_dir(&folder).expect("a folder").collect();
    assert_eq!(names.len(), 1);
    drop((listener, file));
    assert!(!path.exists());
}

/// A socket that a dead process left behind is replaced. One that is listened on stays.
#[tokio::test]
async fn only_a_dead_socket_is_replaced() {
    let place = private();
    let path = place.path().join(NAME);
    drop(UnixListener::bind(&path).expect("bound"));
    assert!(path.exists(), "a socket without a process");
    let (listener, file) = bind(&path).await.expect("replaced");
    let error = bind(&path).await.expect_err("it is in use").to_string();
    assert!(
        error.starts_with("another collector is using unix:"),
        "{error}"
    );
    UnixStream::connect(&path).await.expect("the first listens");
    // Another process took the place: its file is not ours to remove.
    fs::remove_file(&path).expect("removed");
    let _other = UnixListener::bind(&path).expect("bound");
    drop((listener, file));
    assert!(path.exists());
}

/// Only one of two processes that start at the same moment gets the place.
#[tokio::test]
async fn two_at_once_get_one_place() {
    let place = private();
    let path = place.path().join(NAME);
    let (one, two) = tokio::join!(bind(&path), bind(&path));
    assert_ne!(one.is_ok(), two.is_ok());
}

/// A file that is not a socket is not removed, and a folder in which others can put files is not
/// used.
#[tokio::test]
async fn unsafe_places_are_refused() {
    let place = private();
    let path = place.path().join(NAME);
    fs::write(&path, "precious").expect("written");
    let error = bind(&path).await.expect_err("a file").to_string();
    assert!(error.contains("no socket"), "{error}");
    assert_eq!(fs::read_to_string(&path).expect("there"), "precious");

    let open = place.path().join("open");
    fs::create_dir(&open).expect("made");
    fs::set_permissions(&open, Permissions::from_mode(0o777)).expect("opened");
    let error = bind(&open.join(NAME)).await.expect_err("open").to_string();
    assert!(
        error.contains("mode 0777") && error.contains("chmod go-w"),
        "{error}"
    );

    let link = place.path().join("link");
    symlink(place.path(), &link).expect("linked");
    let error = bind(&link.join(NAME))
        .await
        .expect_err("a link")
        .to_string();
    assert!(error.contains("no folder"), "{error}");

    let long = place.path().join("x".repeat(100)).join(NAME);
    let error = bind(&long).await.expect_err("too long").to_string();
    assert!(error.contains("longer than 103 bytes"), "{error}");
}

/// A folder of another user is not used, except root's.
#[test]
fn folders_of_others_are_refused() {
    assert_eq!(fault_of(true, 1000, 0o755, 1000), None);
    assert_eq!(fault_of(true, 0, 0o755, 1000), None);
    let why = fault_of(true, 1001, 0o700, 1000).expect("not ours");
    assert!(why.contains("belongs to user 1001"), "{why}");
    assert!(fault_of(true, 1000, 0o770, 1000).is_some());
    assert!(fault_of(true, 0, 0o1777, 1000).is_some());
    assert!(fault_of(false, 1000, 0o700, 1000).is_some());
}

/// Without an endpoint the socket is in the user's runtime folder, or else in one that names the
/// user.
#[test]
fn the_default_place_is_the_users() {
    let user = rustix::process::geteuid().as_raw();
    let fallback = PathBuf::from(format!("/tmp/spandrel-{user}/admin.sock"));
    let runtime = PathBuf::from("/run/user/1000");
    let own = runtime.join("spandrel/admin.sock");
    assert_eq!(candidates_in(Some(runtime)), [own, fallback.clone()]);
    assert_eq!(candidates_in(None), std::slice::from_ref(&fallback));
    assert_eq!(candidates_in(Some("relative".into())), [fallback]);
}
