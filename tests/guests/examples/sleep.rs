//! Sleeps instead of running, so a clock of its own work does not measure it.

use spandrel_test_guests::*;

struct Guest;

guest!(Guest);

impl Behave for Guest {
    fn process(_: u64, _: Vec<u8>) -> Reply {
        std::thread::sleep(std::time::Duration::from_secs(3600));
        Reply::default()
    }
}
