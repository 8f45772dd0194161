//! The OTLP receiver, for gRPC and HTTP, and the OTLP/gRPC exporter, on raw bytes.
//!
//! Requests pass between the sockets and the pipeline as raw bytes: nothing here decodes them.
//! [`receiver`] reads requests and offers them to an
//! [`Ingress`](spandrel_pipeline::ingress::Ingress); [`exporter`] sends batches and returns the
//! outcome of each. The tables of status codes, those we send to senders and those that backends
//! send to us, are in `status`.

#![forbid(unsafe_code)]

pub mod auth;
pub mod compression;
pub mod exporter;
mod file_value;
mod method;
mod prefix;
pub mod receiver;
pub mod secret;
mod status;
pub mod tls;

pub use file_value::FileError;
