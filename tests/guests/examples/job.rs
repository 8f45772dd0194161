//! The job of the bench as a component, made with the SDK like any plugin.

#[path = "job/plugin.rs"]
mod plugin;

spandrel_guest::export!(plugin::Job);
