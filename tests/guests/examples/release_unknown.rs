//! Releases an item of a batch that it never got.

use spandrel_test_guests::*;

struct Guest;

guest!(Guest);

impl Behave for Guest {
    fn configure(_: String) -> Result<Manifest, String> {
        Ok(Manifest {
            holds: true,
            ..manifest()
        })
    }

    fn process(ticket: u64, _: Vec<u8>) -> Reply {
        Reply {
            emission: Some(Emission {
                released: vec![ticket + 1_000_000, release(0, FORWARD)],
                ..Emission::default()
            }),
            ..Reply::default()
        }
    }
}
