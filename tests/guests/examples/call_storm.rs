//! Only calls the host, for ever: clocks, random numbers, counters, the batch.

use spandrel_test_guests::*;

struct Guest;

guest!(Guest);

impl Behave for Guest {
    fn process(_: u64, _: Vec<u8>) -> Reply {
        let mut sum = 0_u64;
        loop {
            sum = sum.wrapping_add(host::now() ^ host::monotonic() ^ host::random());
            sum = sum.wrapping_add(host::batch().len() as u64);
            host::count("calls", sum & 1);
        }
    }
}
