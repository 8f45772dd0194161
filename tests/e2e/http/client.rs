//! A client of OTLP/HTTP by hand, over HTTP/1.1 with keep-alive: it shows every byte of an answer, and
//! sends what no library sends.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, ensure};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use prost::Message as _;
use spandrel_tests::shop::span_ids;
use spandrel_tests::until::soon;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;

/// A client that connects again when its connection has ended.
pub(crate) struct HttpClient {
    address: String,
    connection: Option<BufReader<TcpStream>>,
    /// The number of connections that it made.
    pub(crate) connections: u64,
    /// Ids of the spans whose export was answered with 200.
    pub(crate) delivered: Vec<u64>,
    /// The number of spans that were refused.
    pub(crate) refused: u64,
    /// The number of spans in requests without an answer.
    pub(crate) unanswered: u64,
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) code: u16,
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: Vec<u8>,
}

impl HttpClient {
    pub(crate) fn new(address: &str) -> Self {
        Self {
            address: address.to_owned(),
            connection: None,
            connections: 0,
            delivered: Vec::new(),
            refused: 0,
            unanswered: 0,
        }
    }

    /// Sends spans once. An error is no answer at all.
    pub(crate) async fn export(&mut self, request: &ExportTraceServiceRequest) -> Result<Answer> {
        let ids: Vec<u64> = span_ids(request).collect();
        let spans = u64::try_from(ids.len())?;
        let kind = [("content-type", "application/x-protobuf")];
        let answer = self
            .post("/v1/traces", &kind, &request.encode_to_vec())
            .await;
        match &answer {
            Ok(answer) if answer.code == 200 => self.delivered.extend(ids),
            Ok(_) => self.refused += spans,
            Err(_) => self.unanswered += spans,
        }
        answer
    }

    /// Posts a body once.
    pub(crate) async fn post(
        &mut self,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Result<Answer> {
        let mut head = format!("POST {path} HTTP/1.1\r\nhost: collector\r\n");
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str(&format!("content-length: {}\r\n\r\n", body.len()));
        self.send(&[head.as_bytes(), body].concat()).await
    }

    /// Sends these bytes and returns the answer.
    pub(crate) async fn send(&mut self, request: &[u8]) -> Result<Answer> {
        let mut connection = match self.connection.take() {
            Some(connection) if is_open(&connection) => connection,
            _ => {
                self.connections += 1;
                let stream = TcpStream::connect(&self.address).await?;
                stream.set_nodelay(true)?;
                BufReader::new(stream)
            }
        };
        let exchange = async {
            connection.write_all(request).await?;
            read(&mut connection).await
        };
        let answer = soon("an answer", exchange).await??;
        if answer
            .headers
            .get("connection")
            .is_none_or(|it| it != "close")
        {
            self.connection = Some(connection);
        }
        Ok(answer)
    }
}

/// Returns true if the other side has not ended the connection. Like a pool of connections, it looks
/// before each use.
fn is_open(connection: &BufReader<TcpStream>) -> bool {
    let nothing = connection.get_ref().try_read(&mut [0; 1]);
    nothing.is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock)
}

async fn read(connection: &mut BufReader<TcpStream>) -> Result<Answer> {
    let status = line(connection).await?;
    let code = status.split(' ').nth(1).context("no status")?.parse()?;
    let mut headers = BTreeMap::new();
    loop {
        let line = line(connection).await?;
        let Some((name, value)) = line.split_once(": ") else {
            break;
        };
        headers.insert(name.to_ascii_lowercase(), value.to_owned());
    }
    let length = headers.get("content-length").map_or("0", String::as_str);
    let mut body = vec![0; length.parse()?];
    connection.read_exact(&mut body).await?;
    Ok(Answer {
        code,
        headers,
        body,
    })
}

async fn line(connection: &mut BufReader<TcpStream>) -> Result<String> {
    let mut line = String::new();
    ensure!(
        connection.read_line(&mut line).await? > 0,
        "the connection ended"
    );
    Ok(line.trim_end().to_owned())
}
