//! Gives one verdict more than there are items.

use spandrel_test_guests::*;

struct Guest;

guest!(Guest);

impl Behave for Guest {
    fn process(_: u64, batch: Vec<u8>) -> Reply {
        Reply {
            verdicts: vec![KEEP; count_spans(&batch) + 1],
            ..Reply::default()
        }
    }
}
