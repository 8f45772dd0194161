//! `cargo peers`: collectors side by side, in one run, in one test bed.
//!
//! Every contestant gets the same load from `spandrel bench`, one after the other, round by round,
//! so that a machine that is busy for a while affects all alike. The table has the medians of the
//! rounds. A collector that is not installed is left out, with a line that says how to get it.

#![forbid(unsafe_code)]

mod arguments;
mod bed;
mod contestant;
mod figures;
mod outcome;
mod pump;
mod roster;
mod table;

use std::io::Write as _;
use std::process::ExitCode;

use anyhow::Result;

use arguments::{Arguments, Output, Wanted};
use outcome::Outcome;

fn main() -> ExitCode {
    let given: Vec<String> = std::env::args().skip(1).collect();
    let done = match arguments::read(&given) {
        Ok(Wanted::Help) => {
            print(arguments::USAGE);
            Ok(true)
        }
        Ok(Wanted::Pump { listen, backend }) => pump::run(&listen, &backend).map(|()| true),
        Ok(Wanted::Run(arguments)) => run(&arguments),
        Err(problem) => {
            say(&format!("{problem}\n\n{}", arguments::USAGE));
            return ExitCode::from(64);
        }
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            say(&format!("cannot compare: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

/// Runs all rounds. Returns true if every contestant got through and did its job.
fn run(arguments: &Arguments) -> Result<bool> {
    if cfg!(debug_assertions) {
        say("this is a build for tests, and its figures mean nothing: run `cargo peers`");
    }
    let tools = if arguments.as_built {
        roster::Tools::as_built()?
    } else {
        roster::Tools::build()?
    };
    let roster = roster::roster(&tools, arguments)?;
    for missing in &roster.missing {
        say(&format!("left out: {missing}"));
    }
    let bed = bed::Bed::new(&tools, arguments)?;
    let mut outcomes: Vec<Outcome> = roster.contestants.into_iter().map(Outcome::new).collect();
    for round in 1..=arguments.rounds {
        for outcome in &mut outcomes {
            let before = format!("round {round}/{}", arguments.rounds);
            match bed.run(&outcome.contestant) {
                Ok(report) => {
                    outcome.add(report);
                    let figures = outcome.rounds.last();
                    let said = figures.map(figures::Figures::in_short).unwrap_or_default();
                    say(&format!("{before}  {:<32} {said}", outcome.name()));
                }
                Err(error) => {
                    say(&format!("{before}  {}: {error:#}", outcome.name()));
                    outcome.failures += 1;
                }
            }
        }
    }
    match arguments.output {
        Output::Table => print(&table::aligned(&table::rows(&outcomes))),
        Output::Markdown => print(&table::markdown(&table::rows(&outcomes))),
        Output::Json => print(&outcome::json(&outcomes, arguments, &roster.missing)),
    }
    Ok(outcomes.iter().all(Outcome::is_good))
}

/// Prints progress and problems on stderr.
fn say(line: &str) {
    // An error is ignored: if stderr is closed, nobody reads it.
    writeln!(std::io::stderr().lock(), "{line}").unwrap_or_default();
}

/// Prints the result on stdout.
fn print(text: &str) {
    // An error is ignored: if stdout is closed, nobody reads it.
    writeln!(std::io::stdout().lock(), "{text}").unwrap_or_default();
}
