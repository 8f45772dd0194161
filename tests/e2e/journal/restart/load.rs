//! Sends traces piece by piece: two children, then the root. The sender knows for each piece
//! whether it was acknowledged.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use anyhow::Result;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::trace::v1::{Span, Status, status::StatusCode};
use spandrel_tests::client::Client;
use spandrel_tests::shop::{now, request};
use tokio::task::JoinSet;
use tokio::time::sleep;

/// The role of a span in its trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sent {
    Child,
    Root,
    FailedRoot,
}

/// Returns the id of a span.
fn id(trace: u64, number: u64) -> u64 {
    (trace << 3) + number + 1
}

/// The start time of all spans. A span that is sent again must have the same times to be a
/// duplicate.
static START: LazyLock<u64> = LazyLock::new(now);

/// Makes a request with one span. The root is number 0.
pub(super) fn span(trace: u64, number: u64, what: Sent) -> ExportTraceServiceRequest {
    let parent = match what {
        Sent::Child => id(trace, 0).to_be_bytes().to_vec(),
        Sent::Root | Sent::FailedRoot => Vec::new(),
    };
    let status = (what == Sent::FailedRoot).then(|| Status {
        code: StatusCode::Error.into(),
        ..Status::default()
    });
    let start = *START + number;
    let span = Span {
        trace_id: (u128::from(trace) + 1).to_be_bytes().to_vec(),
        span_id: id(trace, number).to_be_bytes().to_vec(),
        parent_span_id: parent,
        name: format!("piece {number}"),
        start_time_unix_nano: start,
        end_time_unix_nano: start + 1_000_000,
        status,
        ..Span::default()
    };
    request(vec![(0, span)])
}

/// The result for one trace: the pieces that were sent, and acknowledged.
#[derive(Clone, Debug)]
struct Piece {
    trace: u64,
    fails: bool,
    children: Vec<u64>,
    /// `None` if no root was sent; otherwise true if it was acknowledged.
    root: Option<bool>,
    /// True if another root was sent for it.
    completed: bool,
}

/// The results for many traces.
#[derive(Clone, Debug, Default)]
pub(super) struct Pieces(Vec<Piece>);

impl Pieces {
    pub(super) fn add(&mut self, more: Self) {
        self.0.extend(more.0);
    }

    /// Returns the trace and number of each child that was acknowledged.
    pub(super) fn answered(&self) -> Vec<(u64, u64)> {
        let children = |piece: &Piece| {
            let trace = piece.trace;
            piece
                .children
                .clone()
                .into_iter()
                .map(move |number| (trace, number))
        };
        self.0.iter().flat_map(children).collect()
    }

    /// Sends a root with an error for each trace that has none yet.
    pub(super) async fn complete(&mut self, client: &mut Client) -> Result<()> {
        for piece in &mut self.0 {
            if piece.root != Some(true) && !piece.children.is_empty() {
                client.send(span(piece.trace, 5, Sent::FailedRoot)).await?;
                piece.completed = true;
            }
        }
        Ok(())
    }

    /// Sends another root with an error for each trace of which a wanted span has not come. Returns
    /// the number of these traces.
    pub(super) async fn complete_torn(
        &mut self,
        client: &mut Client,
        came: impl Fn(u64) -> bool,
    ) -> Result<usize> {
        let mut torn = 0;
        for piece in &mut self.0 {
            if piece.is_wanted() && !piece.ids().all(&came) {
                client.send(span(piece.trace, 5, Sent::FailedRoot)).await?;
                piece.completed = true;
                torn += 1;
            }
        }
        Ok(torn)
    }

    /// Returns the spans that must come out: those of traces with an error. A trace whose root
    /// without an error had no answer is not among them, because it may have been judged by that
    /// root.
    pub(super) fn wanted(&self) -> Vec<u64> {
        let wanted = self.0.iter().filter(|piece| piece.is_wanted());
        wanted.flat_map(Piece::ids).collect()
    }

    /// Returns the spans that must not come out.
    pub(super) fn unwanted(&self) -> Vec<u64> {
        let unwanted = self.0.iter();
        let unwanted = unwanted.filter(|piece| piece.root == Some(true) && !piece.fails);
        unwanted.flat_map(Piece::ids).collect()
    }

    pub(super) fn acknowledged(&self) -> usize {
        self.0.iter().map(|piece| piece.ids().count()).sum()
    }

    pub(super) fn traces(&self) -> usize {
        self.0.len()
    }
}

impl Piece {
    fn is_wanted(&self) -> bool {
        match self.root {
            Some(_) => self.fails,
            None => self.completed,
        }
    }

    /// Returns its acknowledged spans.
    fn ids(&self) -> impl Iterator<Item = u64> + '_ {
        let root = (self.root == Some(true)).then_some(id(self.trace, 0));
        let last = self.completed.then_some(id(self.trace, 5));
        let children = self.children.iter().map(|number| id(self.trace, *number));
        children.chain(root).chain(last)
    }
}

/// Clients that send traces piece by piece, until they are told to stop or get no answer.
pub(super) struct Load {
    stop: Arc<AtomicBool>,
    clients: JoinSet<Pieces>,
}

impl Load {
    /// Starts the clients. `first` is the number of the first trace.
    pub(super) async fn start(address: &str, clients: u64, first: u64) -> Result<Self> {
        let stop = Arc::<AtomicBool>::default();
        let mut all = JoinSet::new();
        for number in 0..clients {
            let client = Client::connect(address).await?.patient_for(Duration::ZERO);
            all.spawn(send(client, first + (number << 24), Arc::clone(&stop)));
        }
        Ok(Self { stop, clients: all })
    }

    /// Stops, and returns the results of what they sent.
    pub(super) async fn stop(self) -> Pieces {
        self.stop.store(true, Ordering::Release);
        let mut all = Pieces::default();
        self.clients
            .join_all()
            .await
            .into_iter()
            .for_each(|one| all.add(one));
        all
    }
}

async fn send(mut client: Client, first: u64, stop: Arc<AtomicBool>) -> Pieces {
    let mut all = Pieces::default();
    for trace in first.. {
        if stop.load(Ordering::Acquire) {
            break;
        }
        let mut piece = Piece {
            trace,
            fails: trace % 2 == 0,
            children: Vec::new(),
            root: None,
            completed: false,
        };
        for number in [1, 2] {
            if client.send(span(trace, number, Sent::Child)).await.is_ok() {
                piece.children.push(number);
            }
        }
        if piece.children.len() == 2 {
            let root = if piece.fails {
                Sent::FailedRoot
            } else {
                Sent::Root
            };
            piece.root = Some(client.send(span(trace, 0, root)).await.is_ok());
        }
        all.0.push(piece);
        sleep(Duration::from_millis(2)).await;
    }
    all
}
