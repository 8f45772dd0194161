//! Asks for an operation that the contract does not have.

use spandrel_test_guests::*;

struct Guest;

guest!(Guest);

impl Behave for Guest {
    fn process(_: u64, _: Vec<u8>) -> Reply {
        Reply {
            edits: vec![99, 0, 0, 0],
            ..Reply::default()
        }
    }
}
