//! Judges batches well, and never returns from a drain.

use spandrel_test_guests::*;

struct Guest;

guest!(Guest);

impl Behave for Guest {
    fn drain(_: DrainReason, _: u64) -> Emission {
        spin()
    }
}
