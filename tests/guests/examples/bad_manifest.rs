//! Declares more than a plugin may: 300 drop reasons.

use spandrel_test_guests::*;

struct Guest;

guest!(Guest);

impl Behave for Guest {
    fn configure(_: String) -> Result<Manifest, String> {
        Ok(Manifest {
            drop_reasons: (0..300).map(|number| format!("reason {number}")).collect(),
            ..manifest()
        })
    }
}
