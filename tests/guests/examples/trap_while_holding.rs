//! Holds every other batch, and fails on the ones between.

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

    fn process(ticket: u64, batch: Vec<u8>) -> Reply {
        if ticket.is_multiple_of(2) {
            std::process::abort();
        }
        Reply {
            verdicts: vec![HOLD; count_spans(&batch)],
            ..Reply::default()
        }
    }
}
