//! The batcher: merges what waits in the queue into larger requests, and cuts what is too large.
//!
//! It stands between the queue and the attempts, and what it gathers keeps its room in the queue,
//! so that the queue's bound is the bound on both.

mod request;

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use spandrel_wire::Signal;
use tokio::time::{Instant, timeout_at};

pub(crate) use self::request::Request;
use crate::batch::Batch;
use crate::queue::{Permit, Queue, Queued};

/// When a gathered request goes out, under the Collector's `sending_queue::batch` names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BatcherConfig {
    /// The longest wait for `min_size`, from the first batch on.
    pub flush_timeout: Duration,
    /// Goes out as soon as it has this many items.
    pub min_size: usize,
    /// Never has more items than this; zero for no limit.
    pub max_size: usize,
}

impl Default for BatcherConfig {
    fn default() -> Self {
        Self {
            flush_timeout: Duration::from_millis(200),
            min_size: 8192,
            max_size: 0,
        }
    }
}

/// A merged request stops growing here, whatever its item count: large enough that merging costs
/// nothing more by growing, far below the 64 MiB that OTLP servers take.
const MAX_MERGED_BYTES: usize = 16 << 20;

/// No request goes out longer, if it can be cut: half of what OTLP servers take (64 MiB), because
/// cutting by items hits a size only roughly.
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
    /// These as one; none of none.
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

/// Gathers from one queue.
#[derive(Debug)]
pub(crate) struct Batcher {
    signal: Signal,
    config: Option<BatcherConfig>,
    /// Taken from the queue, but did not fit the request before it.
    next: Option<Queued>,
    /// Cut from a batch that was too large.
    cut: VecDeque<Gathered>,
}

impl Batcher {
    /// Without a config, batches go out as they came.
    pub(crate) fn new(signal: Signal, config: Option<BatcherConfig>) -> Self {
        Self {
            signal,
            config,
            next: None,
            cut: VecDeque::new(),
        }
    }

    /// The next request, or none when the queue is closed and everything has been handed out.
    pub(crate) async fn gather(&mut self, queue: &Queue) -> Option<Gathered> {
        if let Some(part) = self.cut.pop_front() {
            return Some(part);
        }
        let first = match self.next.take() {
            Some(queued) => queued,
            None => queue.pop().await?,
        };
        let (gathered, max_size) = match self.config.clone() {
            Some(config) => (self.merge(first, queue, &config).await?, config.max_size),
            None => (Gathered::from(first), 0),
        };
        let most = most_items(&gathered.request, max_size);
        if gathered.request.items() > most as u64 {
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
    ) -> Option<Gathered> {
        let deadline = Instant::now() + config.flush_timeout;
        let (mut items, mut size) = (first.batch.items(), first.batch.bytes.len());
        let mut all = vec![Gathered::from(first)];
        while items < config.min_size as u64 && size < MAX_MERGED_BYTES {
            // A closed queue ends the wait, and so does the timeout: then what is here goes out.
            let Ok(Some(queued)) = timeout_at(deadline, queue.pop()).await else {
                break;
            };
            items += queued.batch.items();
            size += queued.batch.bytes.len();
            let over = config.max_size > 0 && items > config.max_size as u64;
            if over || size > MAX_MERGED_BYTES {
                self.next = Some(queued);
                break;
            }
            all.push(Gathered::from(queued));
        }
        Gathered::merge(all)
    }
}

/// How many items a request like this may have: `max_size`, and less when it would be too long.
fn most_items(request: &Request, max_size: usize) -> usize {
    let items = usize::try_from(request.items()).unwrap_or(usize::MAX);
    let by_size = if max_size == 0 { usize::MAX } else { max_size };
    let by_bytes = match request.bytes().len().div_ceil(MAX_SENT_BYTES) {
        0 | 1 => usize::MAX,
        pieces => items.div_ceil(pieces),
    };
    by_size.min(by_bytes).max(1)
}

/// Cuts a request into pieces of at most `max_size` items (a single metric may have more). One whose
/// resources are too large to repeat in each piece goes out whole.
fn cut(signal: Signal, gathered: Gathered, max_size: usize) -> VecDeque<Gathered> {
    let Gathered { request, permits } = gathered;
    let Batch { bytes, mut tally } = request.into_batch();
    let Some(parts) = spandrel_wire::split_by_size(signal, &bytes, max_size) else {
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
