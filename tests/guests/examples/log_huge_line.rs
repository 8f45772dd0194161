//! Logs 10 MiB in one line, full of escape sequences.
#![expect(clippy::print_stdout, reason = "one of the ways to log")]

use spandrel_test_guests::*;

struct Guest;

guest!(Guest);

impl Behave for Guest {
    fn process(_: u64, _: Vec<u8>) -> Reply {
        let mut line = "\u{1b}[2J\r\n\u{7}".repeat((10 << 20) / 7);
        host::log(Level::Error, &line);
        line.truncate(100 << 10);
        // The line has no end, so it is logged when the instance is dropped.
        print!("{}", line.replace('\n', " "));
        Reply::default()
    }
}
