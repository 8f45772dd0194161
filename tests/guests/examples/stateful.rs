//! Counts the items that it has seen, and carries the count over.

use std::sync::Mutex;

use spandrel_test_guests::*;

struct Guest;

guest!(Guest);

/// The version of the state: eight bytes, little endian.
const VERSION: u32 = 3;

static SEEN: Mutex<u64> = Mutex::new(0);

impl Behave for Guest {
    fn configure(_: String) -> Result<Manifest, String> {
        Ok(Manifest {
            state_version: VERSION,
            ..manifest()
        })
    }

    fn process(_: u64, batch: Vec<u8>) -> Reply {
        let mut seen = lock(&SEEN);
        *seen += count_spans(&batch) as u64;
        host::gauge("seen", *seen as f64);
        Reply::default()
    }

    fn snapshot() -> Option<State> {
        Some(State {
            version: VERSION,
            bytes: lock(&SEEN).to_le_bytes().to_vec(),
        })
    }

    fn restore(state: State) -> Result<(), String> {
        if state.version != VERSION {
            return Err(format!("state version {} is not {VERSION}", state.version));
        }
        let bytes = state.bytes.try_into();
        *lock(&SEEN) += u64::from_le_bytes(bytes.map_err(|_| "not eight bytes".to_owned())?);
        Ok(())
    }
}
