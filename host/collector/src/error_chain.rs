//! An error and its causes as one line of text.

/// Returns an error and its causes in one line.
pub fn in_one_line(error: &dyn std::error::Error) -> String {
    let mut what = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        what.push_str(": ");
        what.push_str(&error.to_string());
        cause = error.source();
    }
    what
}
