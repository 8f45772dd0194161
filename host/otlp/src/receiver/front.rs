//! The front of the receiver: connections, and the room that their requests share. Of OTLP it knows
//! only that there are three signals. A [`RequestHandler`] answers the requests, in its protocol.
//!
//! - `accept` takes connections from the listener, `connection_limit` limits their number,
//!   `connection` finds out what one of them speaks, and `http_server` serves it to its end. `tls`,
//!   `preface`, `flood` and `http1_stream` guard its bytes, and `activity` counts its requests.
//! - `fair` shares out an amount so that no connection can take it from the others. `budget` is the
//!   memory and the decoders for requests, `admission` the requests that are offered at a time.
//! - `wrong_protocol` recognizes and answers clients that speak another protocol than the port, and
//!   `protocol_log` records them. `port_guide` has the words.

mod accept;
mod activity;
mod admission;
mod budget;
mod connection;
mod connection_limit;
mod deadline;
mod fair;
mod flood;
mod handler;
mod http1_stream;
mod http_server;
mod log_limit;
mod port_guide;
mod preface;
mod protocol_log;
mod shutdown;
mod stats;
mod tls;
mod wrong_protocol;

pub(crate) use accept::accept;
pub(crate) use activity::Purpose;
pub(crate) use admission::AdmissionSlots;
pub(crate) use budget::{Budget, Lease, SWOLLEN_LIMIT, unswollen};
pub(crate) use connection::{Connections, Front};
pub(crate) use fair::ConnectionId;
pub(crate) use handler::RequestHandler;
pub(crate) use log_limit::LogLimit;
pub(crate) use port_guide::PortGuide;
pub(crate) use protocol_log::ProtocolLog;
pub(crate) use shutdown::Shutdown;
pub(crate) use stats::ConnectionStats;
pub(crate) use tls::Certificates;
pub(crate) use wrong_protocol::WrongProtocol;
