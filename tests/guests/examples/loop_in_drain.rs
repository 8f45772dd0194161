//! Judges batches well, and never lets go.

use spandrel_test_guests::*;

struct Guest;

guest!(Guest);

impl Behave for Guest {
    fn drain(_: DrainReason, _: u64) -> Emission {
        spin()
    }
}
