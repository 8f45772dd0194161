//! A client that sends any bytes as a request.

use anyhow::Result;
use bytes::{Buf as _, BufMut as _, Bytes};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
use prost::Message as _;
use spandrel_tests::collector::Collector;
use tonic::client::Grpc;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};

/// A codec that passes messages as raw bytes.
#[derive(Clone, Copy, Debug, Default)]
struct Raw;

impl Codec for Raw {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, bytes: Bytes, out: &mut EncodeBuf<'_>) -> Result<(), Status> {
        out.put(bytes);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, bytes: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(bytes.copy_to_bytes(bytes.remaining())))
    }
}

/// A client that sends bytes. It returns the number of refused items and the reason.
pub(super) struct Client(Grpc<Channel>);

impl Client {
    pub(super) async fn connect(collector: &Collector) -> Result<Self> {
        let address = collector.address("otlp")?;
        let channel = Endpoint::from_shared(format!("http://{address}"))?;
        Ok(Self(Grpc::new(channel.connect().await?)))
    }

    pub(super) async fn send(
        &mut self,
        path: &'static str,
        bytes: Vec<u8>,
    ) -> Result<(i64, String), Status> {
        let ready = self.0.ready().await;
        ready.map_err(|error| Status::unavailable(error.to_string()))?;
        let path = PathAndQuery::from_static(path);
        let answer = self.0.unary(Request::new(Bytes::from(bytes)), path, Raw);
        let answer = answer.await?.into_inner();
        // The answers of the three signals have the same fields.
        let answer = ExportTraceServiceResponse::decode(answer);
        let answer = answer.map_err(|error| Status::internal(error.to_string()))?;
        Ok(answer
            .partial_success
            .map_or_else(Default::default, |partial| {
                (partial.rejected_spans, partial.error_message)
            }))
    }
}
