//! The output of the demo, while it runs and at its end.

use std::io::Write;
use std::time::Duration;

use tokio::time::Instant;

use super::paint::Paint;
use super::table::Table;

/// Prints progress and tables for people, or only the final object for scripts.
#[derive(Debug)]
pub(crate) struct Show {
    json: bool,
    pub(crate) paint: Paint,
    started: Instant,
}

impl Show {
    pub(crate) fn new(json: bool) -> Self {
        Self {
            json,
            paint: Paint::stdout(),
            started: Instant::now(),
        }
    }

    /// Prints a line of progress, with the time since the start.
    pub(crate) fn step(&self, text: &str) {
        let elapsed = seconds(self.started.elapsed());
        self.line(&format!("{} {text}", self.paint.dim(&elapsed)));
    }

    pub(crate) fn title(&self, text: &str) {
        self.line("");
        self.line(&self.paint.bold(text));
    }

    pub(crate) fn table(&self, table: &Table) {
        for (number, line) in table.lines().iter().enumerate() {
            if number == 0 {
                self.line(&self.paint.dim(line));
            } else {
                self.line(line);
            }
        }
    }

    /// Prints a line for people; silent with `--json`.
    pub(crate) fn line(&self, text: &str) {
        if !self.json {
            put(&mut std::io::stdout(), text);
        }
    }

    /// Prints the object for scripts; silent without `--json`.
    pub(crate) fn object(&self, object: &serde_json::Value) {
        if self.json {
            put(&mut std::io::stdout(), &format!("{object:#}"));
        }
    }
}

fn seconds(duration: Duration) -> String {
    format!("{:>6.1}s", duration.as_secs_f64())
}

/// Writes a line. An error is ignored: if the stream is closed, nobody reads it.
fn put(to: &mut impl Write, text: &str) {
    drop(writeln!(to, "{text}"));
}
