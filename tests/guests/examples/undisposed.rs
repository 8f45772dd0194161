//! Reports every item as one whose handle it lost.

use spandrel_test_guests::*;

struct Guest;

guest!(Guest);

impl Behave for Guest {
    fn process(_: u64, batch: Vec<u8>) -> Reply {
        Reply {
            verdicts: vec![255; count_spans(&batch)],
            ..Reply::default()
        }
    }
}
