//! The backend: a thread of its own, which answers every export with success and knows each item.

mod connection;
mod count;

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

use crate::error::BenchError;
use crate::process::thread_cpu;
use crate::settings::Windows;
pub(crate) use count::{Count, ItemSet};

/// The running backend.
#[derive(Debug)]
pub(crate) struct Backend {
    count: Arc<Mutex<Count>>,
    questions: mpsc::Sender<oneshot::Sender<Duration>>,
    thread: std::thread::JoinHandle<()>,
}

impl Backend {
    /// Listens, and counts the items of one run, whose requests have `batch` items each.
    pub(crate) fn start(
        address: SocketAddr,
        windows: Windows,
        run: u16,
        batch: u64,
    ) -> Result<Self, BenchError> {
        let cannot = |source| BenchError::Listen { address, source };
        let listener = TcpListener::bind(address).map_err(cannot)?;
        listener.set_nonblocking(true).map_err(cannot)?;
        let count = Arc::new(Mutex::new(Count::new(run, batch)));
        let (questions, inbox) = mpsc::channel(1);
        let inner = Arc::clone(&count);
        let thread = std::thread::Builder::new()
            .name("bench-backend".to_owned())
            .spawn(move || run_thread(listener, windows, &inner, inbox))
            .map_err(BenchError::Thread)?;
        Ok(Self {
            count,
            questions,
            thread,
        })
    }

    /// Returns the counts of what arrived until now.
    pub(crate) fn count(&self) -> MutexGuard<'_, Count> {
        self.count.lock()
    }

    /// Returns the CPU time of the backend's thread.
    pub(crate) async fn cpu(&self) -> Result<Duration, BenchError> {
        let (answer, result) = oneshot::channel();
        let ended = || BenchError::ThreadEnded("backend");
        self.questions.send(answer).await.map_err(|_| ended())?;
        result.await.map_err(|_| ended())
    }

    /// Closes all connections and returns the counts.
    pub(crate) fn stop(self) -> Count {
        let Self {
            count,
            questions,
            thread,
            ..
        } = self;
        drop(questions);
        // A panic of the thread was reported when a question found it gone.
        thread.join().unwrap_or_default();
        let mut count = count.lock();
        std::mem::take(&mut *count)
    }
}

fn run_thread(
    listener: TcpListener,
    windows: Windows,
    count: &Arc<Mutex<Count>>,
    inbox: mpsc::Receiver<oneshot::Sender<Duration>>,
) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    // Without a runtime the first question finds the thread gone.
    if let Ok(runtime) = runtime {
        runtime.block_on(serve(listener, windows, count, inbox));
    }
}

async fn serve(
    listener: TcpListener,
    windows: Windows,
    count: &Arc<Mutex<Count>>,
    mut inbox: mpsc::Receiver<oneshot::Sender<Duration>>,
) {
    let Ok(listener) = tokio::net::TcpListener::from_std(listener) else {
        return;
    };
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                if let Ok((stream, _)) = accepted {
                    connections.spawn(connection::serve(stream, windows, Arc::clone(count)));
                }
            }
            question = inbox.recv() => match question {
                // The asker may have given up.
                Some(answer) => drop(answer.send(thread_cpu())),
                None => return,
            },
            Some(_) = connections.join_next() => {}
        }
    }
}
