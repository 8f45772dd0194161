//! Counts under ten thousand names, and under invalid names.

use spandrel_test_guests::*;

struct Guest;

guest!(Guest);

impl Behave for Guest {
    fn process(_: u64, _: Vec<u8>) -> Reply {
        for number in 0..10_000 {
            host::count(&format!("name_{number}"), 1);
        }
        host::gauge("not a name\n", f64::NAN);
        host::gauge("name_0", 1.0);
        host::count(&"x".repeat(1 << 20), 1);
        Reply::default()
    }
}
