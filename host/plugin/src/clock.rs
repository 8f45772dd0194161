//! The clock that interrupts guests: deadlines are counted in its ticks.

use std::time::Duration;

use spandrel_supply::SHORTEST_DEADLINE;

/// The length of a tick.
pub(crate) const TICK: Duration = SHORTEST_DEADLINE;

/// Starts the thread that ticks until the engine is dropped: the thread holds no strong reference
/// to it.
pub(crate) fn start(engine: &wasmtime::Engine) -> std::io::Result<()> {
    let engine = engine.weak();
    std::thread::Builder::new()
        .name("plugin-clock".to_owned())
        .spawn(move || {
            while let Some(engine) = engine.upgrade() {
                engine.increment_epoch();
                drop(engine);
                std::thread::sleep(TICK);
            }
        })?;
    Ok(())
}
