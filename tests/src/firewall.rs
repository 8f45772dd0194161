//! A proxy before a backend that can forget its connections, like a firewall or a node that goes
//! away: their bytes are lost, and neither side is told. New connections work.

use std::net::SocketAddr;

use anyhow::Result;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// A proxy that can forget its connections. It closes them when it is dropped.
#[derive(Debug)]
pub struct Firewall {
    address: SocketAddr,
    /// The number of times that it forgot its connections.
    forgot: watch::Sender<u64>,
    connections: watch::Receiver<u64>,
    _task: JoinSet<()>,
}

impl Firewall {
    /// Starts on a free port, in front of this endpoint (`http://host:port`).
    ///
    /// # Errors
    /// Returns an error if there is no port.
    pub async fn before(endpoint: &str) -> Result<Self> {
        let backend = endpoint.trim_start_matches("http://").to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let (forgot, forgets) = watch::channel(0);
        let (count, connections) = watch::channel(0);
        let mut task = JoinSet::new();
        task.spawn(async move {
            let mut open = JoinSet::new();
            while let Ok((mut inside, _)) = listener.accept().await {
                count.send_modify(|count| *count += 1);
                let mut forgets = forgets.clone();
                forgets.mark_unchanged();
                let backend = backend.clone();
                open.spawn(async move {
                    let Ok(mut outside) = TcpStream::connect(backend).await else {
                        return;
                    };
                    tokio::select! {
                        _ = copy_bidirectional(&mut inside, &mut outside) => {}
                        _ = forgets.changed() => std::future::pending::<()>().await,
                    }
                });
            }
        });
        Ok(Self {
            address,
            forgot,
            connections,
            _task: task,
        })
    }

    /// Returns the value of an exporter's `endpoint` that goes through it.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Forgets the current connections.
    pub fn forget(&self) {
        self.forgot.send_modify(|count| *count += 1);
    }

    /// Returns the number of connections made so far.
    pub fn connections(&self) -> u64 {
        *self.connections.borrow()
    }
}
