//! `cargo demo`: a minute of a web shop through the real collector and four plugins.
//!
//! It builds what is missing, starts a backend and the collector on free loopback ports, sends the
//! minute compressed in time, swaps plugins meanwhile, shows what went in and came out, stops the
//! collector under load, and checks its ledger against what was sent and what the backend has. The
//! exit code is 0 only if all of that agrees.

#![forbid(unsafe_code)]

mod chain;
mod paint;
mod report;
mod run;
mod show;
mod swaps;
mod table;
mod traffic;

use std::io::Write as _;
use std::process::ExitCode;

use show::Show;

const USAGE: &str = "usage: cargo demo [--json]

  --json   print one JSON object with all figures instead of tables";

fn main() -> ExitCode {
    let mut json = false;
    for argument in std::env::args().skip(1) {
        match argument.as_str() {
            "--json" => json = true,
            "--help" | "-h" => return say(USAGE, ExitCode::SUCCESS),
            other => {
                let text = format!("unknown argument `{other}`\n{USAGE}");
                return say(&text, ExitCode::from(64));
            }
        }
    }
    let mut show = Show::new(json);
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => return say(&format!("cannot start: {error}"), ExitCode::FAILURE),
    };
    match runtime.block_on(run::run(&mut show)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => say(&format!("the demo failed: {error:#}"), ExitCode::FAILURE),
    }
}

/// Prints a final message on stderr.
fn say(text: &str, code: ExitCode) -> ExitCode {
    // An error is ignored: if stderr is closed, nobody reads it.
    drop(writeln!(std::io::stderr(), "{text}"));
    code
}
