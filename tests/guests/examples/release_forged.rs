//! Holds everything, and releases items that others may hold: all tickets around its own, for all
//! indices and reasons.

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
        let around = ticket.saturating_sub(50)..ticket + 50;
        let forged = around.flat_map(|ticket| {
            (0..20).flat_map(move |index| [ticket, release(index, index as u64 * 13)])
        });
        Reply {
            verdicts: vec![HOLD; count_spans(&batch)],
            emission: Some(Emission {
                released: forged.collect(),
                ..Emission::default()
            }),
            ..Reply::default()
        }
    }
}
