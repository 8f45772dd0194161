//! Panics when it is given a state.
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
        Some(State {
            version: 1,
            bytes: b"something".to_vec(),
        })
    }

    fn restore(_: State) -> Result<(), String> {
        panic!("cannot bear the past")
    }
}
