//! Behaves, and says one line by each way there is.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "two of the ways to log"
)]

use spandrel_test_guests::*;

struct Guest;

guest!(Guest);

impl Behave for Guest {
    fn process(_: u64, _: Vec<u8>) -> Reply {
        host::log(Level::Info, "from the host interface");
        println!("from stdout");
        eprint!("from stderr, ");
        eprintln!("in two parts");
        Reply::default()
    }
}
