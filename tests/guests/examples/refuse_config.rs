//! Refuses every config, with a long message.

use spandrel_test_guests::*;

struct Guest;

guest!(Guest);

impl Behave for Guest {
    fn configure(config: String) -> Result<Manifest, String> {
        Err(format!(
            "unknown field `route` in {config}\nexpected `routes`{}",
            " ".repeat(2) + &"!".repeat(5000)
        ))
    }
}
