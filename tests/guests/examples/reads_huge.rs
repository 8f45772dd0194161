//! Reports in every reply that it reads ten thousand more attributes.

use spandrel_test_guests::*;

struct Guest;

guest!(Guest);

impl Behave for Guest {
    fn process(ticket: u64, _: Vec<u8>) -> Reply {
        Reply {
            reads: Some(Reads {
                fields: true,
                attributes: (0..10_000).map(|key| format!("{ticket}.{key}")).collect(),
                whole: false,
            }),
            ..Reply::default()
        }
    }
}
