//! A component of another kind: it has none of the functions of a plugin.
#![allow(unsafe_code, unused_qualifications, reason = "generated")]

mod bindings {
    wit_bindgen::generate!({
        inline: "
            package acme:greeter@1.0.0;
            world greeter { export greet: func() -> string; }
        ",
        world: "greeter",
    });
}

struct Guest;

impl bindings::Guest for Guest {
    fn greet() -> String {
        "hello".to_owned()
    }
}

bindings::export!(Guest with_types_in bindings);
