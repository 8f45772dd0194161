//! Fails in every tick.

use spandrel_test_guests::*;

struct Guest;

guest!(Guest);

impl Behave for Guest {
    fn configure(_: String) -> Result<Manifest, String> {
        Ok(Manifest {
            tick_interval_ms: 10,
            ..manifest()
        })
    }

    fn tick() -> Emission {
        std::process::abort()
    }
}
