//! Edits an item that does not exist, with a name that is not in the blob.

use spandrel_test_guests::*;

struct Guest;

guest!(Guest);

impl Behave for Guest {
    fn process(_: u64, batch: Vec<u8>) -> Reply {
        let past = u32::try_from(count_spans(&batch)).unwrap_or(u32::MAX);
        Reply {
            edits: vec![SET_NAME, past, 1000, 10],
            blob: b"name".to_vec(),
            ..Reply::default()
        }
    }
}
