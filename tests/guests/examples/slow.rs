//! Works for `{ "ms": 20 }` milliseconds on each batch, within any deadline. It does not wait: it
//! spends the time running.

use std::sync::Mutex;

use spandrel_test_guests::*;

struct Guest;

guest!(Guest);

static NANOSECONDS: Mutex<u64> = Mutex::new(0);

impl Behave for Guest {
    fn configure(config: String) -> Result<Manifest, String> {
        *lock(&NANOSECONDS) = number(&config).unwrap_or(20) * 1_000_000;
        Ok(manifest())
    }

    fn process(_: u64, _: Vec<u8>) -> Reply {
        let end = host::monotonic() + *lock(&NANOSECONDS);
        while host::monotonic() < end {}
        Reply::default()
    }
}
