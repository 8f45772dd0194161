use std::path::Path;

use clap::Parser;

use super::super::*;

#[derive(Debug, Parser)]
struct Line {
    #[command(flatten)]
    plugin: PluginArguments,
}

fn parse(line: &str) -> Result<PluginArguments, String> {
    let parsed = Line::try_parse_from(line.split(' '));
    parsed
        .map(|line| line.plugin)
        .map_err(|error| error.to_string())
}

/// The endpoint, the token and the output form may come before the command or after it.
#[test]
fn where_to_ask_may_stand_anywhere() {
    for line in [
        "plugin ls --admin unix:/run/a.sock --token-file t -o json",
        "plugin --admin unix:/run/a.sock --token-file t -o json ls",
    ] {
        let arguments = parse(line).expect("good");
        let connection = arguments.connection;
        assert_eq!(connection.admin, Some(Endpoint::Unix("/run/a.sock".into())));
        assert_eq!(connection.token_file.as_deref(), Some(Path::new("t")));
        assert_eq!(connection.output, Output::Json);
        assert!(matches!(arguments.command, PluginCommand::Ls(_)));
    }
}

/// All parts of a swap are read from the command line.
#[test]
fn a_swap_is_read() {
    let line = r#"plugin swap tag a.wasm --config {"a":1} --canary 10% --dry-run --upload"#;
    let PluginCommand::Swap(swap) = parse(line).expect("good").command else {
        panic!("another command");
    };
    assert_eq!(swap.stage, "tag");
    assert_eq!(swap.module.as_deref(), Some(Path::new("a.wasm")));
    assert_eq!(swap.config, Some(serde_json::json!({ "a": 1 })));
    assert_eq!(swap.canary, Some(10.0));
    assert!(swap.dry_run && swap.upload && !swap.shadow);
}

/// A configuration may be in a file.
#[test]
fn a_config_may_be_a_file() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("config.json");
    std::fs::write(&path, r#"{"routes":["/healthz"]}"#).expect("written");
    let read = config(&format!("@{}", path.display())).expect("good");
    assert_eq!(read["routes"][0], "/healthz");
    std::fs::write(&path, "routes: []").expect("written");
    let error = config(&format!("@{}", path.display())).expect_err("YAML");
    assert!(error.contains("config.json is not JSON"), "{error}");
    assert!(config("@/not/there").is_err());
}

/// A command line that contradicts itself or makes no sense is a usage error.
#[test]
fn bad_lines_are_refused() {
    for line in [
        "plugin",
        "plugin show",
        "plugin swap",
        "plugin swap tag --upload",
        "plugin swap tag --canary 10% --shadow",
        "plugin swap tag --canary 10% --no-probation",
        "plugin swap tag --shadow --no-probation",
        "plugin swap tag --expect-drops --no-probation",
        "plugin swap tag --as-configured a.wasm",
        "plugin promote tag --expect-drops --no-probation",
        "plugin swap tag --canary 0",
        "plugin swap tag --canary 101%",
        "plugin swap tag --config {",
        "plugin ls --admin localhost",
        "plugin ls -o yaml",
        "plugin history --after 1",
    ] {
        assert!(parse(line).is_err(), "{line}");
    }
    for line in [
        "plugin history --watch tag",
        "plugin list --drops",
        "plugin promote tag --no-probation",
        "plugin swap tag --canary 10% --expect-drops",
    ] {
        assert!(parse(line).is_ok(), "{line}");
    }
}
