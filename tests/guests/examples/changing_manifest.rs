//! Gives a different manifest each time.

use spandrel_test_guests::*;

struct Guest;

guest!(Guest);

impl Behave for Guest {
    fn configure(_: String) -> Result<Manifest, String> {
        Ok(Manifest {
            drop_reasons: vec![format!("reason {}", host::random())],
            ..manifest()
        })
    }
}
