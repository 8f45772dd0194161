//! Has a state to carry, and refuses every state: even its own.

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
        Err("this state is not for me".to_owned())
    }
}
