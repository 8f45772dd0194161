//! What happens between receive and export. Read in the order of the data path: [`ingress`],
//! [`stage`], [`exporter`]; [`refused`] is what a sender is told.

#![forbid(unsafe_code)]

pub mod exporter;
pub mod ingress;
pub mod refused;
pub mod stage;
