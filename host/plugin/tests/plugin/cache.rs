//! Tests of the cache: compiled code is kept; a bad cache costs a compilation, never more.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use spandrel_pipeline::stage::Instance as _;
use spandrel_plugin::{CodeOrigin, Engine, EngineConfig, Generation};

use crate::capture::Capture;
use crate::guests::guest;
use crate::setup::{input, load};

fn engine(cache: &Path) -> Engine {
    let config = EngineConfig {
        instances: 2,
        cache: Some(cache.to_owned()),
        ..EngineConfig::default()
    };
    Engine::new(&config).expect("an engine")
}

/// Loads `unchanged`, shows that it works, and returns true if it was compiled.
async fn is_compiled(engine: &Engine) -> bool {
    let generation = Generation::load(engine, load(guest("unchanged")))
        .await
        .expect("a generation");
    let mut instance = generation.instance().await.expect("an instance");
    instance.process(1, &input(1)).await.expect("a reply");
    matches!(generation.code(), CodeOrigin::Compiled { .. })
}

fn files(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).expect("listed");
    entries
        .map(|entry| entry.expect("an entry").path())
        .collect()
}

/// A second start does not compile, and only this user can access the file.
#[tokio::test]
async fn a_second_start_does_not_compile() {
    let directory = tempfile::tempdir().expect("a directory");
    let cache = directory.path().join("new/compiled");
    assert!(is_compiled(&engine(&cache)).await);
    assert!(!is_compiled(&engine(&cache)).await);
    let [file] = files(&cache).try_into().expect("one file");
    let mode = |path: &Path| fs::metadata(path).expect("metadata").permissions().mode() & 0o777;
    assert_eq!(mode(&file), 0o600);
    assert_eq!(mode(&cache), 0o700);
}

/// A file damaged in any way is compiled again, with a warning, and is good afterwards.
#[tokio::test]
async fn a_damaged_file_costs_a_compilation() {
    let directory = tempfile::tempdir().expect("a directory");
    let engine = engine(directory.path());
    assert!(is_compiled(&engine).await);
    let [file] = files(directory.path()).try_into().expect("one file");
    let good = fs::read(&file).expect("read");
    let mut flipped = good.clone();
    flipped[good.len() / 2] ^= 1;
    let mut header = good.clone();
    header[0] = b'S';
    let cut = good[..good.len() - 1].to_vec();
    let mut longer = good.clone();
    longer.push(0);
    for damaged in [flipped, header, cut, longer, Vec::new()] {
        let capture = Capture::start();
        fs::write(&file, damaged).expect("written");
        assert!(is_compiled(&engine).await);
        let warnings = capture.lines("spandrel_plugin::cache");
        assert!(
            matches!(warnings.as_slice(), [line] if line.contains("compiled plugin not usable, compiling again")),
            "{warnings:?}"
        );
        assert_eq!(fs::read(&file).expect("read").len(), good.len());
        assert!(!is_compiled(&engine).await);
    }
}

/// Code of another plugin is not run under the name of this one.
#[tokio::test]
async fn code_of_another_plugin_is_not_taken_for_this_one() {
    let directory = tempfile::tempdir().expect("a directory");
    let engine = engine(directory.path());
    assert!(is_compiled(&engine).await);
    let [ours] = files(directory.path()).try_into().expect("one file");
    let other = Generation::load(&engine, load(guest("chatty"))).await;
    drop(other.expect("a generation"));
    let mut theirs = files(directory.path());
    theirs.retain(|path| *path != ours);
    let [theirs] = theirs.try_into().expect("one more file");
    fs::copy(&theirs, &ours).expect("copied");
    assert!(is_compiled(&engine).await, "another plugin's code was run");
}

/// A directory that others may write to holds no code of ours: the engine works without a cache.
#[tokio::test]
async fn a_directory_open_to_others_is_not_used() {
    let directory = tempfile::tempdir().expect("a directory");
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o777)).expect("set");
    let capture = Capture::start();
    let engine = engine(directory.path());
    assert!(is_compiled(&engine).await);
    assert!(is_compiled(&engine).await);
    assert!(files(directory.path()).is_empty());
    let warnings = capture.lines("spandrel_plugin::engine");
    assert!(
        matches!(warnings.as_slice(), [line] if line.contains("others may write to the directory (mode 777)")),
        "{warnings:?}"
    );
}

/// A directory that others may replace, because they can write to its parent, is not used either.
/// In a parent where only owners may rename entries, such as /tmp, others cannot replace it.
#[tokio::test]
async fn a_directory_that_others_may_replace_is_not_used() {
    let directory = tempfile::tempdir().expect("a directory");
    let cache = directory.path().join("ours/compiled");
    for (mode, is_used) in [(0o777, false), (0o770, false), (0o1777, true)] {
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(mode)).expect("set");
        let capture = Capture::start();
        assert!(is_compiled(&engine(&cache)).await);
        assert_eq!(!files(&cache).is_empty(), is_used, "{mode:o}");
        let warnings = capture.lines("spandrel_plugin::engine");
        let told = warnings
            .iter()
            .any(|line| line.contains("others may replace the directory"));
        assert_eq!(told, !is_used, "{mode:o}: {warnings:?}");
    }
}

/// Code in a file that others may write to, or behind a link, is not run.
#[tokio::test]
async fn a_file_that_is_not_ours_alone_is_not_run() {
    let directory = tempfile::tempdir().expect("a directory");
    let elsewhere = tempfile::tempdir().expect("a directory");
    let engine = engine(directory.path());
    assert!(is_compiled(&engine).await);
    let [file] = files(directory.path()).try_into().expect("one file");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o666)).expect("set");
    assert!(is_compiled(&engine).await);
    assert!(!is_compiled(&engine).await);
    let far = elsewhere.path().join("code");
    fs::rename(&file, &far).expect("moved");
    std::os::unix::fs::symlink(&far, &file).expect("linked");
    assert!(is_compiled(&engine).await);
    assert!(!is_compiled(&engine).await);
}

/// A path that cannot be a directory costs a warning.
#[tokio::test]
async fn a_cache_that_cannot_be_made_is_done_without() {
    let file = tempfile::NamedTempFile::new().expect("a file");
    assert!(is_compiled(&engine(&file.path().join("compiled"))).await);
}

/// The directory holds at most 64 files; the oldest are removed first.
#[tokio::test]
async fn the_oldest_files_go() {
    let directory = tempfile::tempdir().expect("a directory");
    for number in 0..70 {
        let path = directory.path().join(format!("{number}.compiled"));
        let file = fs::File::create(path).expect("made");
        let age = std::time::Duration::from_secs(1000 - number);
        let time = std::time::SystemTime::now() - age;
        file.set_modified(time).expect("set");
    }
    let engine = engine(directory.path());
    assert!(is_compiled(&engine).await);
    assert_eq!(files(directory.path()).len(), 64);
    assert!(!directory.path().join("6.compiled").exists());
    assert!(directory.path().join("7.compiled").exists());
    assert!(!is_compiled(&engine).await);
}
