//! A plugin for a version of the contract that this collector does not know.
#![allow(unsafe_code, unused_qualifications, reason = "generated")]

mod bindings {
    wit_bindgen::generate!({
        inline: "
            package spandrel:plugin@0.9.0;
            interface host { log: func(message: string); }
            interface traces { process: func(batch: list<u8>) -> list<u8>; }
            world plugin { import host; export traces; }
        ",
        world: "plugin",
    });
}

struct Guest;

impl bindings::exports::spandrel::plugin::traces::Guest for Guest {
    fn process(batch: Vec<u8>) -> Vec<u8> {
        bindings::spandrel::plugin::host::log("a batch");
        batch
    }
}

bindings::export!(Guest with_types_in bindings);
