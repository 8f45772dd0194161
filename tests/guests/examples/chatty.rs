//! Behaves, and logs one line in each possible way. It logs one more while it is configured, if its
//! config asks it to talk. It refuses a config that asks for that.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "two of the ways to log"
)]

use spandrel_test_guests::*;

struct Guest;

guest!(Guest);

impl Behave for Guest {
    fn configure(config: String) -> Result<Manifest, String> {
        if config.contains("talk") {
            host::log(Level::Info, "from configure");
        }
        if config.contains("refuse") {
            return Err("as asked".to_owned());
        }
        Ok(manifest())
    }

    fn process(_: u64, _: Vec<u8>) -> Reply {
        host::log(Level::Info, "from the host interface");
        println!("from stdout");
        eprint!("from stderr, ");
        eprintln!("in two parts");
        Reply::default()
    }
}
