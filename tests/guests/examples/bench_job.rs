//! The job that collectors are compared by, as a component made with the SDK like any plugin.

#[path = "bench_job/plugin.rs"]
mod plugin;

spandrel_guest::export!(plugin::Job);
