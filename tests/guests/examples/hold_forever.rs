//! Holds everything, and never releases it.

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

    fn process(_: u64, batch: Vec<u8>) -> Reply {
        Reply {
            verdicts: vec![HOLD; count_spans(&batch)],
            ..Reply::default()
        }
    }
}
