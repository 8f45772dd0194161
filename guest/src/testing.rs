//! Unit tests of plugins without WebAssembly: a small builder for batches, and a host that runs the
//! plugin natively, checks its replies as the real host does, and shows what became of each span.
//!
//! ```
//! use spandrel_guest::prelude::*;
//! use spandrel_guest::testing::{TestBatch, TestHost};
//!
//! # const DEBUG: Reason = Reason(0);
//! # struct DropDebug;
//! # #[derive(Deserialize)]
//! # struct Config {}
//! # impl Plugin for DropDebug {
//! #     type Config = Config;
//! #     fn manifest(&self) -> Manifest { Manifest::new().drop_reasons(&["debug"]) }
//! #     fn configure(_: Config) -> Result<Self, String> { Ok(Self) }
//! #     fn process(&mut self, batch: &mut Batch) {
//! #         for span in batch.spans() {
//! #             if span.attribute("debug").is_some() { span.drop(DEBUG) } else { span.set_attribute("team", "shop") }
//! #         }
//! #     }
//! # }
//! let mut host = TestHost::<DropDebug>::configure("{}").unwrap();
//! let batch = TestBatch::new()
//!     .service("shop")
//!     .span("GET /", |span| span.attribute("http.route", "/"))
//!     .span("poll", |span| span.attribute("debug", true));
//! let outcome = host.process(&batch);
//! assert_eq!(outcome.kept(), ["GET /"]);
//! assert_eq!(outcome.dropped("debug"), ["poll"]);
//! assert_eq!(outcome.span("GET /").after().attribute_str("team"), Some("shop"));
//! ```

mod batch;
mod host;
mod outcome;
mod swap;
#[cfg(test)]
mod tests;

pub use batch::{TestBatch, TestSpan};
pub use host::TestHost;
pub use outcome::{Fate, Outcome, TestedSpan};
pub use swap::{Handover, Swapped};
