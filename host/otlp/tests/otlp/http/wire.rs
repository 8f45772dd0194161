//! A client of HTTP/1.1 by hand, which can send what no library sends.

use std::net::SocketAddr;

use ::http::{HeaderMap, HeaderName, HeaderValue};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

pub(crate) const PROTOBUF: &str = "application/x-protobuf";
pub(crate) const JSON: &str = "application/json";

/// One connection.
pub(crate) struct Client {
    pub(crate) stream: BufReader<TcpStream>,
}

/// The answer to a request.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Answer {
    pub(crate) code: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    /// Returns the only value of a header.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut values = self.headers.get_all(name).iter();
        let value = values.next()?;
        assert_eq!(values.next(), None, "{name}");
        Some(value.to_str().expect("text"))
    }

    pub(crate) fn text(&self) -> &str {
        str::from_utf8(&self.body).expect("text")
    }
}

impl Client {
    pub(crate) async fn connect(addr: SocketAddr) -> Self {
        let stream = TcpStream::connect(addr).await.expect("a listener");
        stream.set_nodelay(true).expect("a socket");
        let stream = BufReader::new(stream);
        Self { stream }
    }

    /// Sends bytes. An error is ignored: the receiver may have ended the connection.
    pub(crate) async fn send(&mut self, bytes: &[u8]) {
        drop(self.stream.write_all(bytes).await);
    }

    /// Returns the next answer; `None` if the connection ends in its place.
    pub(crate) async fn answer(&mut self) -> Option<Answer> {
        loop {
            let answer = self.any_answer().await?;
            if answer.code >= 200 {
                return Some(answer);
            }
        }
    }

    /// Returns the next answer, which may be one that only informs.
    pub(crate) async fn any_answer(&mut self) -> Option<Answer> {
        let status = self.line().await?;
        let code = status.strip_prefix("HTTP/1.1 ").expect("a status line");
        let mut answer = Answer {
            code: code
                .get(..3)
                .and_then(|code| code.parse().ok())
                .expect("a status"),
            ..Answer::default()
        };
        loop {
            let line = self.line().await.expect("a whole head");
            let Some((name, value)) = line.split_once(": ") else {
                assert_eq!(line, "");
                break;
            };
            let name: HeaderName = name.parse().expect("a name");
            let value = HeaderValue::from_str(value).expect("a value");
            answer.headers.append(name, value);
        }
        if answer.code >= 200 && answer.code != 204 {
            let length = answer.header("content-length").expect("a length");
            answer.body = vec![0; length.parse().expect("a number")];
            let read = self.stream.read_exact(&mut answer.body).await;
            read.expect("a whole body");
        }
        Some(answer)
    }

    async fn line(&mut self) -> Option<String> {
        let mut line = String::new();
        match self.stream.read_line(&mut line).await {
            Ok(read) if read > 0 => Some(line.trim_end_matches("\r\n").to_owned()),
            Ok(_) | Err(_) => None,
        }
    }

    /// Sends a request and returns its answer.
    pub(crate) async fn call(&mut self, request: &[u8]) -> Answer {
        self.send(request).await;
        self.answer().await.expect("an answer")
    }

    /// Sends a request of protobuf to a path.
    pub(crate) async fn post(&mut self, path: &str, body: &[u8]) -> Answer {
        self.call(&post(path, &[("content-type", PROTOBUF)], body))
            .await
    }
}

/// Returns a request with these headers.
pub(crate) fn post(path: &str, headers: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let length = body.len().to_string();
    let length = [("content-length", length.as_str())];
    let head = head("POST", path, &[headers, &length[..]].concat());
    [head.as_slice(), body].concat()
}

/// Returns the head of a request.
pub(crate) fn head(method: &str, path: &str, headers: &[(&str, &str)]) -> Vec<u8> {
    let mut head = format!("{method} {path} HTTP/1.1\r\nhost: collector\r\n");
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str("\r\n");
    head.into_bytes()
}

/// Returns a body in chunks of this length.
pub(crate) fn chunked(body: &[u8], length: usize) -> Vec<u8> {
    let mut wire = Vec::new();
    for chunk in body.chunks(length) {
        wire.extend(format!("{:x}\r\n", chunk.len()).into_bytes());
        wire.extend_from_slice(chunk);
        wire.extend_from_slice(b"\r\n");
    }
    wire.extend_from_slice(b"0\r\n\r\n");
    wire
}
