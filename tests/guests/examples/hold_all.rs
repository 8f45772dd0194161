//! Holds everything, and forwards it at the next tick or drain.

use std::sync::Mutex;

use spandrel_test_guests::*;

struct Guest;

guest!(Guest);

static HELD: Mutex<Vec<u64>> = Mutex::new(Vec::new());

impl Behave for Guest {
    fn configure(_: String) -> Result<Manifest, String> {
        Ok(Manifest {
            holds: true,
            tick_interval_ms: 50,
            ..manifest()
        })
    }

    fn process(ticket: u64, batch: Vec<u8>) -> Reply {
        let items = count_spans(&batch);
        let held = (0..items).flat_map(|index| [ticket, release(index, FORWARD)]);
        lock(&HELD).extend(held);
        Reply {
            verdicts: vec![HOLD; items],
            ..Reply::default()
        }
    }

    fn tick() -> Emission {
        Emission {
            released: std::mem::take(&mut *lock(&HELD)),
            ..Emission::default()
        }
    }

    fn drain(_: DrainReason, _: u64) -> Emission {
        Self::tick()
    }
}
