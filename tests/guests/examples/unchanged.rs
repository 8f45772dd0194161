//! Keeps everything as it is.

use spandrel_test_guests::*;

struct Guest;

guest!(Guest);

impl Behave for Guest {}
