//! The tools of the end-to-end tests: the harness, which the demo uses, too, and what tests alone
//! need: certificates, signatures, servers of plugins, firewalls, small disks.

#![forbid(unsafe_code)]

pub mod authority;
pub mod bomb;
pub mod firewall;
pub mod parts;
pub mod signing;
pub mod site;
pub mod tmpfs;

pub use spandrel_harness::{
    admin, artifacts, backend, client, collector, config, ledger, log, metrics, ports, shop, until,
};
