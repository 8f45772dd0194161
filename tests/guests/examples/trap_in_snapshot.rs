//! Panics when it is asked for its state; it accepts any state.
#![expect(clippy::panic, reason = "misbehaves on purpose")]

use spandrel_test_guests::*;

struct Guest;

guest!(Guest);

impl Behave for Guest {
    fn configure(_: String) -> Result<Manifest, String> {
        Ok(Manifest {
            state_version: 1,
            ..manifest()
        })
    }

    fn snapshot() -> Option<State> {
        panic!("nothing to tell")
    }

    fn restore(_: State) -> Result<(), String> {
        Ok(())
    }
}
