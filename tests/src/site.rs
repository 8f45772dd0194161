//! A small HTTP server that serves plugins.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Result;
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

type Pages = Arc<Mutex<BTreeMap<String, Vec<u8>>>>;

/// A server. It stops when it is dropped.
#[derive(Debug)]
pub struct Site {
    address: SocketAddr,
    pages: Pages,
    tasks: JoinSet<()>,
}

impl Site {
    /// Starts a server without any page.
    ///
    /// # Errors
    /// Returns an error if there is no port for it.
    pub async fn start() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let pages = Pages::default();
        let mut tasks = JoinSet::new();
        let served = Arc::clone(&pages);
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(answer(stream, Arc::clone(&served)));
            }
        });
        Ok(Self {
            address,
            pages,
            tasks,
        })
    }

    /// Returns its host and port.
    pub fn host(&self) -> String {
        self.address.to_string()
    }

    /// Serves these bytes at this path from now on.
    pub fn put(&self, path: &str, bytes: &[u8]) {
        let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", bytes.len());
        self.set(path, [head.as_bytes(), bytes].concat());
    }

    /// Answers this path with this code from now on.
    pub fn fail(&self, path: &str, code: u16) {
        let answer = format!("HTTP/1.1 {code} No\r\ncontent-length: 0\r\n\r\n");
        self.set(path, answer.into_bytes());
    }

    fn set(&self, path: &str, answer: Vec<u8>) {
        let mut pages = self.pages.lock();
        pages.insert(path.to_owned(), answer);
    }

    /// Stops answering.
    pub async fn close(&mut self) {
        self.tasks.shutdown().await;
    }
}

async fn answer(mut stream: TcpStream, pages: Pages) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => return,
        }
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let path = head.split(' ').nth(1).unwrap_or_default();
    let page = {
        let pages = pages.lock();
        pages.get(path).cloned()
    };
    let missing = || b"HTTP/1.1 404 No\r\ncontent-length: 0\r\n\r\n".to_vec();
    let page = page.unwrap_or_else(missing);
    // An error is ignored: a client that has read enough may close early.
    if stream.write_all(&page).await.is_ok() {
        stream.shutdown().await.unwrap_or_default();
    }
}
