//! Drops every item: this is no fault, but loses everything.

use spandrel_test_guests::*;

struct Guest;

guest!(Guest);

impl Behave for Guest {
    fn process(_: u64, batch: Vec<u8>) -> Reply {
        Reply {
            verdicts: vec![DROP; count_spans(&batch)],
            ..Reply::default()
        }
    }
}
