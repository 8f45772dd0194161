//! Reports that it reads millions of attributes without a name: the list is small in its memory,
//! and much larger as texts of the host.

use spandrel_test_guests::*;

struct Guest;

guest!(Guest);

impl Behave for Guest {
    fn process(_: u64, _: Vec<u8>) -> Reply {
        Reply {
            reads: Some(Reads {
                fields: false,
                attributes: vec![String::new(); 2_000_000],
                whole: false,
            }),
            ..Reply::default()
        }
    }
}
