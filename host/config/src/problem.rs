//! Problems of a configuration: the place, the problem, and the remedy.

use std::cell::RefCell;
use std::fmt;
use std::sync::Arc;

/// The place of a value in what the operator wrote.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Location {
    /// The file or the flag, as the operator named it.
    pub source: Arc<str>,
    /// Line, counted from 1.
    pub line: usize,
    /// Column, counted from 1.
    pub column: usize,
}

impl Location {
    /// Returns the location of the first character of a source.
    pub(crate) fn start(source: &Arc<str>) -> Self {
        Self {
            source: Arc::clone(source),
            line: 1,
            column: 1,
        }
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.source, self.line, self.column)
    }
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The location; `None` if the source itself could not be read.
    pub at: Option<Location>,
    /// The path of the key, joined with `::` as the Collector does; empty at the top.
    pub path: String,
    /// The problem.
    pub what: String,
    /// The remedy, if there is one to suggest.
    pub instead: Option<String>,
}

impl Problem {
    /// Returns a problem without a place in a source.
    pub fn nowhere(path: impl Into<String>, what: impl Into<String>) -> Self {
        Self {
            at: None,
            path: path.into(),
            what: what.into(),
            instead: None,
        }
    }

    /// Returns a problem at a place in a source.
    pub(crate) fn at(at: &Location, path: impl Into<String>, what: impl Into<String>) -> Self {
        Self {
            at: Some(at.clone()),
            ..Self::nowhere(path, what)
        }
    }

    /// Adds the remedy.
    pub(crate) fn instead(mut self, instead: impl Into<String>) -> Self {
        self.instead = Some(instead.into());
        self
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(at) = &self.at {
            write!(f, "{at}: ")?;
        }
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        f.write_str(&self.what)?;
        if let Some(instead) = &self.instead {
            write!(f, "; {instead}")?;
        }
        Ok(())
    }
}

/// All problems of a configuration, in its order.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", lines(.problems))]
pub struct ConfigError {
    /// At least one problem.
    pub problems: Vec<Problem>,
}

impl ConfigError {
    /// Returns an error unless the list is empty.
    pub fn of(problems: Vec<Problem>) -> Result<(), Self> {
        if problems.is_empty() {
            return Ok(());
        }
        let problems = in_order(problems);
        Err(Self { problems })
    }
}

/// Sorts by place; problems without a place come first. The sort is stable, so the first problem
/// found at a place stays first.
pub(crate) fn in_order(mut problems: Vec<Problem>) -> Vec<Problem> {
    problems.sort_by(|a, b| a.at.cmp(&b.at));
    problems
}

fn lines(problems: &[Problem]) -> String {
    let lines: Vec<String> = problems.iter().map(Problem::to_string).collect();
    lines.join("\n")
}

/// Gathers problems, so that one reading finds all of them.
#[derive(Debug, Default)]
pub(crate) struct Problems {
    found: RefCell<Vec<Problem>>,
    warnings: RefCell<Vec<Problem>>,
}

impl Problems {
    pub(crate) fn add(&self, problem: Problem) {
        self.found.borrow_mut().push(problem);
    }

    /// Notes a setting that is accepted but does not do what the operator may think.
    pub(crate) fn warn(&self, problem: Problem) {
        self.warnings.borrow_mut().push(problem);
    }

    /// Returns the gathered warnings.
    pub(crate) fn take_warnings(&self) -> Vec<Problem> {
        self.warnings.take()
    }

    /// Returns the gathered problems, in the order of the configuration.
    pub(crate) fn into_list(self) -> Vec<Problem> {
        in_order(self.found.into_inner())
    }

    /// Returns the gathered problems as an error, if there are any.
    #[cfg(test)]
    pub(crate) fn into_result(self) -> Result<(), ConfigError> {
        ConfigError::of(self.into_list())
    }
}
