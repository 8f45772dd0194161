//! The durable log of accepted batches, in files.

#![forbid(unsafe_code)]
