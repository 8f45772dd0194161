//! Does not run, but sleeps: no clock of its own work can tell.

use spandrel_test_guests::*;

struct Guest;

guest!(Guest);

impl Behave for Guest {
    fn process(_: u64, _: Vec<u8>) -> Reply {
        std::thread::sleep(std::time::Duration::from_secs(3600));
        Reply::default()
    }
}
