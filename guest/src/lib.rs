//! The SDK for Spandrel plugins. A plugin is a struct that implements [`Plugin`], and [`export!`]
//! makes it a WebAssembly component.
//!
//! ```
//! use spandrel_guest::prelude::*;
//!
//! const HEALTH: Reason = Reason(0);
//!
//! struct DropHealthChecks {
//!     routes: Vec<String>,
//!     team: String,
//! }
//!
//! #[derive(Deserialize)]
//! #[serde(deny_unknown_fields)]
//! struct Config {
//!     routes: Vec<String>,
//!     team: String,
//! }
//!
//! impl Plugin for DropHealthChecks {
//!     type Config = Config;
//!
//!     fn manifest(&self) -> Manifest {
//!         Manifest::new().drop_reasons(&["health"])
//!     }
//!
//!     fn configure(config: Config) -> Result<Self, String> {
//!         Ok(Self { routes: config.routes, team: config.team })
//!     }
//!
//!     fn process(&mut self, batch: &mut Batch) {
//!         for span in batch.spans() {
//!             let route = span.attribute_str("http.route").unwrap_or_default();
//!             if self.routes.iter().any(|health| health == route) {
//!                 span.drop(HEALTH);
//!             } else {
//!                 span.set_attribute("team", &self.team);
//!             }
//!         }
//!     }
//! }
//!
//! export!(DropHealthChecks);
//!
//! # fn main() {
//! use spandrel_guest::testing::{TestBatch, TestHost};
//!
//! let config = r#"{ "routes": ["/healthz"], "team": "shop" }"#;
//! let mut host = TestHost::<DropHealthChecks>::configure(config).unwrap();
//! let outcome = host.process(
//!     &TestBatch::new()
//!         .service("cart")
//!         .span("GET /healthz", |span| span.attribute("http.route", "/healthz"))
//!         .span("GET /cart", |span| span.attribute("http.route", "/cart")),
//! );
//! assert_eq!(outcome.dropped("health"), ["GET /healthz"]);
//! assert_eq!(outcome.span("GET /cart").after().attribute_str("team"), Some("shop"));
//! # }
//! ```
//!
//! Native builds compile the same plugin against a double of the host (see [`testing`]), so unit
//! tests need no WebAssembly. `guest/README.md` goes from an empty directory to a running plugin.

// The way of a batch through the modules: `bindings` is the contract with the host. `export!` (in
// `instance`) connects it to the author's `Plugin`, which gets a `Batch` with its resources, scopes
// and spans. Those collect verdicts and `edits`, and note `reads`. A `Held` span and everything
// that the plugin makes (`created`) leave by the `emission`.

mod batch;
#[doc(hidden)]
#[rustfmt::skip]
pub mod bindings;
mod config;
mod conventions;
mod created;
pub mod duration;
mod edits;
mod emission;
mod glob;
mod held;
pub mod host;
mod id_hash;
#[doc(hidden)]
pub mod instance;
mod manifest;
mod moment;
mod plugin;
mod reads;
pub mod state;
#[cfg(not(target_arch = "wasm32"))]
pub mod testing;
mod value;

pub use batch::{Batch, Prepared, Resource, Scope, Span};
pub use conventions::url_path;
pub use created::{NewEvent, NewLink, NewResource, NewSpan};
pub use emission::emit;
pub use glob::Glob;
pub use held::{Held, SpanEdits};
pub use host::{count, gauge, log, monotonic, now, random};
pub use id_hash::{IdHash, IdHasher};
pub use manifest::{Dispatch, Manifest, Reason};
pub use moment::Moment;
pub use plugin::{DrainReason, Plugin};
pub use reads::Keys;
pub use spandrel_wire::{
    Attribute, Attributes, Event, Link, SpanKind, Status, StatusCode, Value, Values,
};
pub use value::{AttributeValue, NewMap};

/// The views that [`Span`], [`Resource`] and [`Scope`] dereference to.
pub mod wire {
    pub use spandrel_wire::{Resource, Scope, Span, Traces};
}

/// Everything that most plugins need.
pub mod prelude {
    pub use serde::{Deserialize, Serialize};
    pub use std::time::Duration;

    pub use crate::{
        AttributeValue, Batch, Dispatch, DrainReason, Event, Glob, Held, Keys, Link, Manifest,
        Moment, NewEvent, NewLink, NewMap, NewResource, NewSpan, Plugin, Prepared, Reason,
        Resource, Scope, Span, SpanEdits, SpanKind, Status, StatusCode, Value, count, debug, emit,
        error, export, gauge, info, state, trace, warn,
    };
}
