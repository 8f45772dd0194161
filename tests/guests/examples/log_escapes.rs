//! Logs escape sequences that a terminal would interpret, and text that looks like log lines of the
//! collector.

use spandrel_test_guests::*;

struct Guest;

guest!(Guest);

impl Behave for Guest {
    fn process(_: u64, _: Vec<u8>) -> Reply {
        host::log(
            Level::Warn,
            "\u{1b}[2J\u{1b}]0;mine\u{7}\r\u{9b}31m\u{202e}",
        );
        host::log(
            Level::Warn,
            "first\n{\"level\":\"ERROR\",\"message\":\"forged\"}",
        );
        Reply::default()
    }
}
