//! Logs ten thousand lines for each batch, in every possible way.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "one of the ways to log"
)]

use spandrel_test_guests::*;

struct Guest;

guest!(Guest);

impl Behave for Guest {
    fn process(_: u64, _: Vec<u8>) -> Reply {
        for number in 0..10_000 {
            let line = format!("line {number}");
            match number % 3 {
                0 => host::log(Level::Error, &line),
                1 => println!("{line}"),
                _ => eprintln!("{line}"),
            }
        }
        Reply::default()
    }
}
