//! The wire ends: the OTLP/gRPC receiver and exporter, on raw bytes.
//!
//! A request goes from the socket to the pipeline, and from the pipeline to the socket, as the bytes
//! it is: nothing here decodes it. [`receiver`] reads requests and offers them to an
//! [`Ingress`](spandrel_pipeline::ingress::Ingress); [`exporter`] sends batches and tells how that
//! ended. Both tables of status codes, ours to senders and a backend's to us, are in `status`.

#![forbid(unsafe_code)]

pub mod auth;
pub mod compression;
pub mod exporter;
mod method;
mod prefix;
pub mod receiver;
mod reread;
pub mod secret;
mod status;
pub mod tls;

pub use reread::FileError;
