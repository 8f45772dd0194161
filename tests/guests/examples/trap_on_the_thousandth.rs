//! Behaves for a while: panics on its call `{ "call": 1000 }` of `process`, and on each one after.

use std::sync::Mutex;

use spandrel_test_guests::*;

struct Guest;

guest!(Guest);

/// The number of calls, and the first call that panics.
static CALLS: Mutex<(u64, u64)> = Mutex::new((0, 0));

impl Behave for Guest {
    fn configure(config: String) -> Result<Manifest, String> {
        lock(&CALLS).1 = number(&config).unwrap_or(1000);
        Ok(manifest())
    }

    fn process(_: u64, _: Vec<u8>) -> Reply {
        let mut calls = lock(&CALLS);
        calls.0 += 1;
        assert!(calls.0 < calls.1, "call {}", calls.0);
        Reply::default()
    }
}
