//! Imports more from the host than a plugin gets.
#![allow(unsafe_code, unused_qualifications, reason = "generated")]

use spandrel_test_guests::*;

mod bindings {
    wit_bindgen::generate!({
        inline: "
            package acme:files@1.0.0;
            interface disk { wipe: func(path: string); }
            interface net { send: func(bytes: list<u8>); }
            world extra { import disk; import net; }
        ",
        world: "extra",
    });
}

struct Guest;

guest!(Guest);

impl Behave for Guest {
    fn process(_: u64, batch: Vec<u8>) -> Reply {
        bindings::acme::files::disk::wipe("/");
        bindings::acme::files::net::send(&batch);
        Reply::default()
    }
}
