//! The batcher: merges batches that wait in the queue into larger requests, and cuts those that are
//! too large.
//!
//! It stands between the queue and the attempts. The batches that it gathers keep their room in the
//! queue, so the queue's bound covers both.

mod request;

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use spandrel_wire::{PartLimits, Signal};
use tokio::time::{Instant, timeout_at};

pub(crate) use self::request::Request;
use crate::batch::Batch;
use crate::queue::{Permit, Queue, Queued, Sizer};

/// The settings that say when a gathered request goes out, under the Collector's
/// `sending_queue::batch` names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BatcherConfig {
    /// The longest wait for `min_size`, from the first batch on.
    pub flush_timeout: Duration,
    /// The unit of both sizes.
    pub sizer: Sizer,
    /// The size at which a request goes out without waiting any longer.
    pub min_size: usize,
    /// The largest size of a request, zero for no limit. A longer request of one client is cut. A
    /// single item that is longer goes out alone.
    pub max_size: usize,
}

impl Default for BatcherConfig {
    fn default() -> Self {
        Self {
            flush_timeout: Duration::from_millis(200),
            sizer: Sizer::Items,
            min_size: 8192,
            max_size: 0,
        }
    }
}

/// The size at which a merged request stops growing, whatever its item count: so large that more
/// would not make merging cheaper, and far below the 64 MiB that OTLP servers take.
const MAX_MERGED_BYTES: usize = 16 << 20;

/// The longest request that goes out, if it can be cut: half of what OTLP servers take (64 MiB).
const MAX_SENT_BYTES: usize = 32 << 20;

/// One request that is ready to go out.
#[derive(Debug)]
pub(crate) struct Gathered {
    pub request: Request,
    pub permits: Vec<Permit>,
}

impl From<Queued> for Gathered {
    fn from(Queued { batch, permit }: Queued) -> Self {
        Self {
            request: Request::from(batch),
            permits: vec![permit],
        }
    }
}

impl Gathered {
    /// Merges the gathered requests; `None` if there are none.
    pub(crate) fn merge(all: Vec<Self>) -> Option<Self> {
        let mut permits = Vec::with_capacity(all.len());
        let requests = all.into_iter().map(|gathered| {
            permits.extend(gathered.permits);
            gathered.request
        });
        let request = Request::merge(requests.collect())?;
        Some(Self { request, permits })
    }
}

/// Gathers requests from one queue.
#[derive(Debug)]
pub(crate) struct Batcher {
    signal: Signal,
    config: Option<BatcherConfig>,
    /// A batch that was taken from the queue, but did not fit the request before it.
    next: Option<Queued>,
    /// The remaining pieces of a batch that was too large.
    cut: VecDeque<Gathered>,
}

impl Batcher {
    /// Makes a batcher. Without a config, batches go out as they came.
    pub(crate) fn new(signal: Signal, config: Option<BatcherConfig>) -> Self {
        Self {
            signal,
            config,
            next: None,
            cut: VecDeque::new(),
        }
    }

    /// Sets the config for the next request and those after it.
    pub(crate) fn configure(&mut self, config: Option<BatcherConfig>) {
        self.config = config;
    }

    /// Returns the next request, or `None` if the queue is closed and everything has been handed
    /// out. A request is not longer than `most_bytes`, which the backend takes, unless it is one
    /// item. `most_bytes` is called once there is a batch, because what is known of the backend can
    /// change while nothing comes.
    pub(crate) async fn gather(
        &mut self,
        queue: &Queue,
        most_bytes: impl Fn() -> usize,
    ) -> Option<Gathered> {
        if let Some(part) = self.cut.pop_front() {
            return Some(part);
        }
        let first = match self.next.take() {
            Some(queued) => queued,
            None => queue.pop().await?,
        };
        let config = self.config.clone();
        let most = most(config.as_ref(), most_bytes());
        let gathered = match &config {
            Some(config) => self.merge(first, queue, config, most).await?,
            None => Gathered::from(first),
        };
        let request = &gathered.request;
        if request.items() > most.items as u64 || request.bytes().len() > most.bytes {
            self.cut = cut(self.signal, gathered, most);
            return self.cut.pop_front();
        }
        Some(gathered)
    }

    async fn merge(
        &mut self,
        first: Queued,
        queue: &Queue,
        config: &BatcherConfig,
        most: PartLimits,
    ) -> Option<Gathered> {
        let deadline = Instant::now() + config.flush_timeout;
        let most_bytes = most.bytes.min(MAX_MERGED_BYTES);
        let (mut items, mut bytes) = (first.batch.items(), first.batch.bytes.len());
        let mut all = vec![Gathered::from(first)];
        let is_full = |requests: usize, items: u64, bytes: usize| match config.sizer {
            Sizer::Requests => requests >= config.min_size,
            Sizer::Items => items >= config.min_size as u64,
            Sizer::Bytes => bytes >= config.min_size,
        };
        while !is_full(all.len(), items, bytes) && bytes < most_bytes {
            // A closed queue ends the wait, and so does the timeout: the batches gathered so far go
            // out.
            let Ok(Some(queued)) = timeout_at(deadline, queue.pop()).await else {
                break;
            };
            items += queued.batch.items();
            bytes += queued.batch.bytes.len();
            if items > most.items as u64 || bytes > most_bytes {
                self.next = Some(queued);
                break;
            }
            all.push(Gathered::from(queued));
        }
        Gathered::merge(all)
    }
}

/// Returns the largest request that is allowed.
fn most(config: Option<&BatcherConfig>, most_bytes: usize) -> PartLimits {
    let mut most = PartLimits {
        items: usize::MAX,
        bytes: most_bytes.min(MAX_SENT_BYTES),
    };
    match config.filter(|config| config.max_size > 0) {
        Some(config) if config.sizer == Sizer::Items => most.items = config.max_size,
        Some(config) if config.sizer == Sizer::Bytes => {
            most.bytes = most.bytes.min(config.max_size);
        }
        _ => {}
    }
    most
}

/// Cuts a request into pieces. A request whose resources are too large to repeat in each piece goes
/// out whole.
fn cut(signal: Signal, gathered: Gathered, most: PartLimits) -> VecDeque<Gathered> {
    let Gathered { request, permits } = gathered;
    let Batch { bytes, mut tally } = request.into_batch();
    let parts = spandrel_wire::cut(signal, &bytes, most);
    let Some(parts) = parts.filter(|parts| !parts.is_empty()) else {
        tracing::warn!(
            items = tally.items(),
            bytes = bytes.len(),
            "batch is not cut, its resources are too large to repeat"
        );
        let request = Request::from(Batch { bytes, tally });
        return VecDeque::from([Gathered { request, permits }]);
    };
    let last = parts.len().saturating_sub(1);
    let piece = |(index, part): (usize, spandrel_wire::Part)| {
        // The last piece takes what is left, so that no rounding can lose an item.
        let items = if index == last {
            tally.items()
        } else {
            part.items as u64
        };
        let batch = Batch {
            bytes: Bytes::from(part.bytes),
            tally: tally.split(items),
        };
        Gathered {
            request: Request::from(batch),
            permits: permits.clone(),
        }
    };
    parts.into_iter().enumerate().map(piece).collect()
}
