//! The words for clients that speak another protocol than the port: what the port speaks, and what the
//! client's operator can do.

use std::borrow::Cow;

use super::wrong_protocol::WrongProtocol;
use crate::receiver::transport::Transport;

/// Knows what a port speaks, and which port of the receiver speaks the other transport.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PortGuide {
    transport: Transport,
    /// The number of the port for the other transport, if the receiver has one.
    other: Option<u16>,
}

impl PortGuide {
    pub(crate) fn new(transport: Transport, other: Option<u16>) -> Self {
        Self { transport, other }
    }

    pub(crate) fn transport(self) -> Transport {
        self.transport
    }

    /// Returns what this port speaks, and what the operator of a client can do that missed it in this
    /// way.
    pub(crate) fn remedy(self, missed: WrongProtocol) -> Cow<'static, str> {
        let speaks = self.transport;
        match (missed, speaks) {
            (WrongProtocol::Http1 | WrongProtocol::NotGrpc | WrongProtocol::Grpc, _) => {
                self.other_transport().into()
            }
            (WrongProtocol::Tls, Transport::Grpc) => {
                "this port speaks OTLP/gRPC without TLS: write http:// in the exporter's endpoint \
                 (OTEL_EXPORTER_OTLP_INSECURE=true), or give this receiver a certificate"
                    .into()
            }
            (WrongProtocol::Tls, Transport::Http) => {
                "this port speaks OTLP/HTTP without TLS: write http:// in the exporter's endpoint, or \
                 give this receiver a certificate"
                    .into()
            }
            (WrongProtocol::PlainHttp1, Transport::Grpc) => {
                "client sent an HTTP request to an HTTPS server: this port speaks OTLP/gRPC over TLS; \
                 write https:// in the exporter's endpoint and set its protocol to grpc"
                    .into()
            }
            (WrongProtocol::PlainHttp1, Transport::Http) => {
                "client sent an HTTP request to an HTTPS server: this port speaks OTLP/HTTP over TLS; \
                 write https:// in the exporter's endpoint"
                    .into()
            }
            (WrongProtocol::PlainHttp2, Transport::Grpc) => {
                "this port speaks OTLP/gRPC over TLS: write https:// in the exporter's endpoint \
                 (OTEL_EXPORTER_OTLP_INSECURE=false)"
                    .into()
            }
            (WrongProtocol::PlainHttp2, Transport::Http) => {
                "this port speaks OTLP/HTTP over TLS: write https:// in the exporter's endpoint".into()
            }
            (WrongProtocol::Handshake, _) => {
                "compare the certificates, authorities and TLS versions of the exporter and of this \
                 receiver"
                    .into()
            }
            (WrongProtocol::Unknown, _) => format!("this port speaks {speaks}").into(),
        }
    }

    fn other_transport(self) -> String {
        let (speaks, name, other, usual) = match self.transport {
            Transport::Grpc => (self.transport, "grpc", Transport::Http, 4318),
            Transport::Http => (self.transport, "http/protobuf", Transport::Grpc, 4317),
        };
        let instead = match self.other {
            Some(number) => format!("port {number}, where this receiver speaks {other}"),
            None => format!("the {other} port of another receiver (usually {usual})"),
        };
        format!(
            "this port speaks {speaks}: set the exporter's protocol to {name} \
             (OTEL_EXPORTER_OTLP_PROTOCOL={name}), or send to {instead}"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A client that took the wrong one of two ports is told the number of the other one, and of a
    /// usual one where the receiver has none.
    #[test]
    fn the_other_port_is_named() {
        for (transport, missed, other) in [
            (Transport::Grpc, WrongProtocol::Http1, 4318),
            (Transport::Grpc, WrongProtocol::NotGrpc, 4318),
            (Transport::Http, WrongProtocol::Grpc, 4317),
        ] {
            let alone = PortGuide::new(transport, None).remedy(missed);
            assert!(alone.ends_with(&format!("(usually {other})")), "{alone}");
            let beside = PortGuide::new(transport, Some(9999)).remedy(missed);
            assert!(beside.contains("port 9999"), "{beside}");
        }
    }

    /// Every kind has words that say what the port speaks, but a failed handshake, which got so far.
    #[test]
    fn every_kind_is_told_what_the_port_speaks() {
        for transport in [Transport::Grpc, Transport::Http] {
            let guide = PortGuide::new(transport, None);
            for missed in WrongProtocol::ALL {
                let words = guide.remedy(missed);
                let says = words.contains(&format!("this port speaks {transport}"));
                assert_eq!(says, missed != WrongProtocol::Handshake, "{words}");
            }
        }
    }
}
