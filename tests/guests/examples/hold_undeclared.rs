//! Holds, although its manifest did not declare it.

use spandrel_test_guests::*;

struct Guest;

guest!(Guest);

impl Behave for Guest {
    fn process(_: u64, batch: Vec<u8>) -> Reply {
        Reply {
            verdicts: vec![HOLD; count_spans(&batch)],
            ..Reply::default()
        }
    }
}
