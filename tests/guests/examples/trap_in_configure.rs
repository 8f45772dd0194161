//! Panics on any config.
#![expect(clippy::panic, reason = "misbehaves on purpose")]

use spandrel_test_guests::*;

struct Guest;

guest!(Guest);

impl Behave for Guest {
    fn configure(_: String) -> Result<Manifest, String> {
        panic!("no config is good enough")
    }
}
