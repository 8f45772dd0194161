//! Reports that it reads nothing of spans, and asks for the whole batch twice.

use spandrel_test_guests::*;

struct Guest;

guest!(Guest);

impl Behave for Guest {
    fn process(_: u64, _: Vec<u8>) -> Reply {
        // If the batch is whole, `host::batch` returns nothing, however often it is called.
        assert!(host::batch().is_empty() && host::batch().is_empty());
        Reply {
            reads: Some(Reads {
                fields: false,
                attributes: Vec::new(),
                whole: false,
            }),
            ..Reply::default()
        }
    }

    fn process_projected(_: u64, batch: Vec<u8>) -> Reply {
        assert!(host::batch().len() > batch.len());
        host::batch();
        Reply::default()
    }
}
