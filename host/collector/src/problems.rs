//! Problems of a configuration that show only when its parts are made.

use spandrel_config::problem::Problem;
use tracing::warn;

use crate::error_chain::in_one_line;

/// Logs settings that are accepted but do not do what the operator may think.
pub fn warn_of(warnings: &[Problem]) {
    for Problem {
        at,
        path,
        what,
        instead,
    } in warnings
    {
        let at = at.as_ref().map(ToString::to_string);
        warn!(path, at, remedy = instead, "{what}");
    }
}

/// Returns an error and its causes, in one line, as a problem of the configuration.
pub(crate) fn problem(path: String, error: &dyn std::error::Error) -> Problem {
    Problem::nowhere(path, in_one_line(error))
}
