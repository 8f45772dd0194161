//! Logs and counts with texts that are not UTF-8.
#![allow(unsafe_code, reason = "misbehaves on purpose")]

use spandrel_test_guests::*;

struct Guest;

guest!(Guest);

impl Behave for Guest {
    fn process(_: u64, _: Vec<u8>) -> Reply {
        // SAFETY: none; the host must not believe it.
        #[expect(invalid_from_utf8_unchecked, reason = "misbehaves on purpose")]
        let text = unsafe { std::str::from_utf8_unchecked(b"\xff\xfe\xc3") };
        host::count(text, 1);
        host::log(Level::Error, text);
        Reply::default()
    }
}
