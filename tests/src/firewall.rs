//! A way to a backend that can forget its connections, as a firewall or a node that goes away does:
//! their bytes go nowhere, and nobody is told. New connections work.

use std::net::SocketAddr;

use anyhow::Result;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// See the module. Closes its connections when it is dropped.
#[derive(Debug)]
pub struct Firewall {
    address: SocketAddr,
    /// Counts how often it forgot.
    forgot: watch::Sender<u64>,
    connections: watch::Receiver<u64>,
    _task: JoinSet<()>,
}

impl Firewall {
    /// On a free port, in front of this endpoint (`http://host:port`).
    ///
    /// # Errors
    /// When there is no port.
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

    /// What an exporter's `endpoint` says to go this way.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Forgets the connections there are.
    pub fn forget(&self) {
        self.forgot.send_modify(|count| *count += 1);
    }

    /// How many connections were made so far.
    pub fn connections(&self) -> u64 {
        *self.connections.borrow()
    }
}
