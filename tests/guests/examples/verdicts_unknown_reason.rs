//! Drops with a reason that its manifest does not have.

use spandrel_test_guests::*;

struct Guest;

guest!(Guest);

impl Behave for Guest {
    fn process(_: u64, batch: Vec<u8>) -> Reply {
        Reply {
            verdicts: vec![DROP + 7; count_spans(&batch)],
            ..Reply::default()
        }
    }
}
