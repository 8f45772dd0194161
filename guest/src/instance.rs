//! An instance of a plugin between the calls of its host. [`export!`](crate::export) connects it to
//! the contract, and the native test host drives it. Both use the same code.

use std::mem::take;
use std::time::Duration;

use crate::batch::{Batch, ReplyBuffers};
use crate::bindings::spandrel::plugin::types;
use crate::config;
use crate::emission;
use crate::plugin::{DrainReason, Plugin};
use crate::reads::ReadTracker;

/// The package's name and version. The manifest uses them if the plugin sets none.
#[derive(Clone, Copy, Debug)]
pub struct Package {
    /// `CARGO_PKG_NAME`.
    pub name: &'static str,
    /// `CARGO_PKG_VERSION`.
    pub version: &'static str,
}

/// A configured plugin, with the buffers for its replies.
#[derive(Debug)]
pub struct Instance<P> {
    plugin: P,
    reads: ReadTracker,
    buffers: ReplyBuffers,
}

impl<P: Plugin> Instance<P> {
    /// Implements the contract's `configure`.
    ///
    /// # Errors
    /// Returns what is wrong with the config, with its path.
    pub fn configure(json: &str, package: Package) -> Result<(Self, types::Manifest), String> {
        emission::reset();
        let plugin = P::configure(config::parse(json)?)?;
        let manifest = manifest(&plugin, package)?;
        let instance = Self {
            plugin,
            reads: ReadTracker::new(),
            buffers: ReplyBuffers::default(),
        };
        Ok((instance, manifest))
    }

    /// Configures a plugin in place of the one that may be running. If that fails, the running one
    /// stays.
    ///
    /// # Errors
    /// Returns what is wrong with the config, with its path.
    pub fn configure_in(
        running: &mut Option<Self>,
        json: &str,
        package: Package,
    ) -> Result<types::Manifest, String> {
        let (instance, manifest) = Self::configure(json, package)?;
        // Dropping the earlier plugin destroys its handles. The new plugin must not release their
        // items.
        let count = emission::count();
        drop(running.replace(instance));
        emission::forget_since(count);
        Ok(manifest)
    }

    /// Implements the contract's `process`.
    pub fn process(&mut self, ticket: u64, bytes: Vec<u8>, projected: bool) -> types::Reply {
        self.reads.begin(projected);
        let (reads, buffers) = (take(&mut self.reads), take(&mut self.buffers));
        let mut batch = Batch::new(ticket, bytes, reads, buffers);
        self.plugin.process(&mut batch);
        let (reply, reads, buffers) = batch.into_reply();
        (self.reads, self.buffers) = (reads, buffers);
        reply
    }

    /// Implements the contract's `tick`.
    pub fn tick(&mut self) -> types::Emission {
        self.plugin.tick();
        emission::take()
    }

    /// Implements the contract's `drain`.
    pub fn drain(&mut self, reason: DrainReason, deadline_ms: u64) -> types::Emission {
        self.plugin
            .drain(reason, Duration::from_millis(deadline_ms));
        emission::take()
    }

    /// Implements the contract's `snapshot`.
    pub fn snapshot(&mut self) -> Option<types::State> {
        self.snapshot_with_lost().0
    }

    /// Returns the state, and the number of handles that the snapshot destroyed or settled. This
    /// number should be zero.
    pub(crate) fn snapshot_with_lost(&mut self) -> (Option<types::State>, u32) {
        let version = self.plugin.manifest().state_version;
        // Writing a handle into the state does not settle it. Its item belongs to the next
        // generation, and a snapshot has no emission that could settle it.
        let count = emission::count();
        let bytes = self.plugin.snapshot();
        let lost = emission::forget_since(count);
        let state = bytes.map(|bytes| types::State { version, bytes });
        (state, lost)
    }

    /// Implements the contract's `restore`.
    ///
    /// # Errors
    /// Returns the reason why the plugin does not accept this state.
    pub fn restore(&mut self, state: &types::State) -> Result<(), String> {
        let count = emission::count();
        let restored = self.plugin.restore(state.version, &state.bytes);
        if restored.is_err() {
            // The items of a refused state never belonged to this plugin, so it cannot release them
            // either.
            emission::forget_since(count);
        }
        restored
    }

    /// Returns the plugin itself.
    pub fn plugin(&self) -> &P {
        &self.plugin
    }
}

/// The most drop reasons that the verdict byte can encode.
const MOST_REASONS: usize = 250;

fn manifest<P: Plugin>(plugin: &P, package: Package) -> Result<types::Manifest, String> {
    let manifest = plugin.manifest();
    if manifest.drop_reasons.len() > MOST_REASONS {
        return Err(format!("more than {MOST_REASONS} drop reasons"));
    }
    let whole_ms = manifest.tick_interval.as_nanos().div_ceil(1_000_000);
    Ok(types::Manifest {
        name: manifest.name.unwrap_or(package.name).to_owned(),
        version: manifest.version.unwrap_or(package.version).to_owned(),
        dispatch: manifest.dispatch,
        tick_interval_ms: u32::try_from(whole_ms).unwrap_or(u32::MAX),
        state_version: manifest.state_version,
        holds: manifest.holds,
        drop_reasons: manifest
            .drop_reasons
            .iter()
            .map(|&name| name.to_owned())
            .collect(),
        signals: vec![types::Signal::Traces],
    })
}

/// Makes a panic arrive at the host as one line: its location, then its message. The host reads the
/// line from stderr and puts it into the fault.
#[cfg(target_arch = "wasm32")]
pub fn report_panics() {
    use std::io::Write as _;

    std::panic::set_hook(Box::new(|panic| {
        let mut stderr = std::io::stderr();
        let message = panic
            .payload_as_str()
            .unwrap_or("a panic without a message");
        let written = match panic.location() {
            Some(place) => writeln!(stderr, "panicked at {place}: {message}"),
            None => writeln!(stderr, "panicked: {message}"),
        };
        // If stderr cannot be written, the host still sees the trap.
        written.unwrap_or_default();
    }));
}

/// Makes a [`Plugin`](crate::Plugin) a WebAssembly component. Write it once, at the end of the
/// plugin's `lib.rs`. In a native build it only checks the type.
#[macro_export]
macro_rules! export {
    ($plugin:ty) => {
        const _: fn() = || {
            fn is_a_plugin<P: $crate::Plugin>() {}
            is_a_plugin::<$plugin>();
        };

        #[cfg(target_arch = "wasm32")]
        const _: () = {
            use $crate::bindings::exports::spandrel::plugin as contract;
            use $crate::bindings::spandrel::plugin::types;
            use $crate::instance::{Instance, Package, report_panics};

            ::std::thread_local! {
                static RUNNING: ::std::cell::RefCell<::std::option::Option<Instance<$plugin>>> =
                    const { ::std::cell::RefCell::new(::std::option::Option::None) };
            }

            fn running<R>(call: impl ::std::ops::FnOnce(&mut Instance<$plugin>) -> R) -> R {
                RUNNING.with_borrow_mut(|running| {
                    call(running.as_mut().expect("the host calls configure first"))
                })
            }

            struct Component;

            impl contract::lifecycle::Guest for Component {
                fn configure(
                    config: ::std::string::String,
                ) -> ::std::result::Result<types::Manifest, ::std::string::String> {
                    report_panics();
                    let package = Package {
                        name: ::std::env!("CARGO_PKG_NAME"),
                        version: ::std::env!("CARGO_PKG_VERSION"),
                    };
                    RUNNING.with_borrow_mut(|running| {
                        Instance::configure_in(running, &config, package)
                    })
                }

                fn tick() -> types::Emission {
                    running(Instance::tick)
                }

                fn drain(reason: types::DrainReason, deadline_ms: u64) -> types::Emission {
                    running(|instance| instance.drain(reason, deadline_ms))
                }

                fn snapshot() -> ::std::option::Option<types::State> {
                    running(Instance::snapshot)
                }

                fn restore(
                    state: types::State,
                ) -> ::std::result::Result<(), ::std::string::String> {
                    running(|instance| instance.restore(&state))
                }
            }

            impl contract::traces::Guest for Component {
                fn process(
                    ticket: u64,
                    batch: ::std::vec::Vec<u8>,
                    projected: bool,
                ) -> types::Reply {
                    running(|instance| instance.process(ticket, batch, projected))
                }
            }

    $crate::bindings::__export_world!(Component with_types_in $crate::bindings);
        };
    };
}
