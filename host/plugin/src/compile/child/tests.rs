//! Tests with processes that end in every way except the good one; a test of the real program shows
//! that one.

use std::path::Path;

use super::*;

/// Runs a shell script in the place of the compiler, and returns the error.
async fn outcome(script: &str, time: Duration) -> ChildError {
    let arguments = ["-c".to_owned(), script.to_owned()];
    let program = Program {
        path: Path::new("/bin/sh"),
        arguments: &arguments,
        engine: Digest::from([1; 32]),
    };
    let limits = CompileLimits {
        time,
        memory_bytes: 300 << 20,
        ..CompileLimits::default()
    };
    // More than a pipe holds: a process that does not read it must not hold us up.
    let component = Bytes::from(vec![7; 1 << 20]);
    let compiled = program.compile(&component, limits, Instant::now() + time);
    compiled.await.expect_err("no code")
}

const LONG: Duration = Duration::from_secs(600);

/// A process that dies early, or answers with nonsense, is reported with its last words.
#[tokio::test]
async fn an_early_end_is_told() {
    for (script, said) in [
        (
            "echo no room >&2; exit 3",
            "ended early (exit status: 3): no room",
        ),
        (
            "kill -KILL $$",
            "ended early (signal: 9 (SIGKILL)): it said nothing",
        ),
        ("kill -SEGV $$", "ended early (signal: 11 (SIGSEGV)"),
        ("head -c 5000 /dev/zero", "ended early (exit status: 0)"),
        (
            "printf 'spandrel-done-1\\n'",
            "ended early (exit status: 0)",
        ),
        (
            "yes | head -c 100000 >&2; exit 1",
            "ended early (exit status: 1): y",
        ),
    ] {
        let words = outcome(script, LONG).await.to_string();
        assert!(words.contains(said), "{script}: {words}");
        assert!(words.len() < 10_000, "{script}");
    }
}

/// The compiler's message about a component may contain text of the component: control characters
/// in it are escaped for the terminal.
#[tokio::test]
async fn a_refusal_is_fit_to_be_read() {
    let engine = r"\001".repeat(32);
    let number = |first: &str| format!(r"\{first}\000\000\000\000\000\000\000");
    let (refusal, length) = (number("001"), number("010"));
    let script = format!(r"printf 'spandrel-done-1\n{engine}{refusal}{length}no\033[2J\ny'");
    let error = outcome(&script, LONG).await;
    assert!(matches!(error, ChildError::Refused(_)), "{error:?}");
    assert_eq!(error.to_string(), r"no\u{1b}[2J\ny");
}

/// The error for each limit names its key.
#[tokio::test]
async fn each_limit_is_told_with_its_key() {
    let memory = "compiling takes more than 300 MiB of memory: build a smaller plugin, or raise \
                  `service::plugins::compile::memory_mib`";
    for script in [
        "echo memory allocation of 12 bytes failed >&2; kill -ABRT $$",
        "echo 'cannot start a thread (os error 11)' >&2; exit 1",
    ] {
        assert_eq!(outcome(script, LONG).await.to_string(), memory);
    }
    let time = |error: ChildError| matches!(error, ChildError::Time { .. });
    assert!(time(outcome("kill -XCPU $$", LONG).await));
}

/// A process that runs past its time is killed, whatever it does in the meantime.
#[tokio::test]
async fn past_its_time_it_is_ended() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("pid");
    let wait = "exec sleep 600";
    let talk = "while :; do echo words >&2; done";
    let closed = "exec >&- 2>&-; while :; do :; done";
    for script in [wait, talk, closed] {
        let script = format!("echo $$ > {}; {script}", file.display());
        let error = outcome(&script, Duration::from_millis(500)).await;
        assert_eq!(
            error.to_string(),
            "compiling takes longer than 500 ms: build a smaller plugin, or raise \
             `service::plugins::compile::time`"
        );
        let id = std::fs::read_to_string(&file).expect("it began");
        let process = Path::new("/proc").join(id.trim());
        assert!(!process.exists(), "{script}: it goes on");
    }
}

/// Code of another version is not accepted.
#[tokio::test]
async fn another_version_is_not_taken() {
    let script = "printf 'spandrel-done-1\\n'; head -c 48 /dev/zero";
    let error = outcome(script, LONG).await;
    assert!(matches!(error, ChildError::OtherVersion { .. }), "{error}");
}

/// A program that does not exist is named in the error.
#[tokio::test]
async fn a_missing_program_is_named() {
    let program = Program {
        path: Path::new("/nowhere/spandrel"),
        arguments: &[],
        engine: Digest::from([1; 32]),
    };
    let due = Instant::now() + LONG;
    let nothing = Bytes::new();
    let compiled = program.compile(&nothing, CompileLimits::default(), due);
    let error = compiled.await.expect_err("no program");
    assert!(
        error
            .to_string()
            .starts_with("cannot start `/nowhere/spandrel`"),
        "{error}"
    );
}
