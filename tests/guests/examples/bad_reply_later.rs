//! Behaves for a while: from its call `{ "call": 100 }` of `process` on, it gives one verdict more
//! than there are items.

use std::sync::Mutex;

use spandrel_test_guests::*;

struct Guest;

guest!(Guest);

/// The number of calls, and the first call with a bad reply.
static CALLS: Mutex<(u64, u64)> = Mutex::new((0, 0));

impl Behave for Guest {
    fn configure(config: String) -> Result<Manifest, String> {
        lock(&CALLS).1 = number(&config).unwrap_or(100);
        Ok(manifest())
    }

    fn process(_: u64, batch: Vec<u8>) -> Reply {
        let mut calls = lock(&CALLS);
        calls.0 += 1;
        let excess = usize::from(calls.0 >= calls.1);
        Reply {
            verdicts: vec![KEEP; count_spans(&batch) + excess],
            ..Reply::default()
        }
    }
}
