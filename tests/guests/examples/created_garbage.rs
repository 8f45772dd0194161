//! Makes items that are not OTLP.

use spandrel_test_guests::*;

struct Guest;

guest!(Guest);

impl Behave for Guest {
    fn process(_: u64, _: Vec<u8>) -> Reply {
        Reply {
            emission: Some(Emission {
                created: vec![0xff; 100],
                ..Emission::default()
            }),
            ..Reply::default()
        }
    }
}
