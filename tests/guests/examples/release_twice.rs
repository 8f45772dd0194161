//! Holds everything, and releases each item twice with the next batch.

use std::sync::Mutex;

use spandrel_test_guests::*;

struct Guest;

guest!(Guest);

static LAST: Mutex<Vec<u64>> = Mutex::new(Vec::new());

impl Behave for Guest {
    fn configure(_: String) -> Result<Manifest, String> {
        Ok(Manifest {
            holds: true,
            ..manifest()
        })
    }

    fn process(ticket: u64, batch: Vec<u8>) -> Reply {
        let items = count_spans(&batch);
        let held = (0..items).flat_map(|index| [ticket, release(index, FORWARD)]);
        let mut released = std::mem::replace(&mut *lock(&LAST), held.collect());
        released.extend_from_within(..);
        Reply {
            verdicts: vec![HOLD; items],
            emission: Some(Emission {
                released,
                ..Emission::default()
            }),
            ..Reply::default()
        }
    }
}
