//! The batcher: merges what waits in the queue into larger requests, and cuts what is too large.
//!
//! It stands between the queue and the attempts, and what it gathers keeps its room in the queue,
//! so that the queue's bound is the bound on both.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use spandrel_wire::Signal;
use tokio::time::{Instant, timeout_at};

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
    pub batch: Batch,
    pub permits: Vec<Permit>,
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
            Some(config) => (self.merge(first, queue, &config).await, config.max_size),
            None => (
                Gathered {
                    batch: first.batch,
                    permits: vec![first.permit],
                },
                0,
            ),
        };
        let most = most_items(&gathered.batch, max_size);
        if gathered.batch.items() > most as u64 {
            self.cut = cut(self.signal, gathered, most);
            return self.cut.pop_front();
        }
        Some(gathered)
    }

    async fn merge(&mut self, first: Queued, queue: &Queue, config: &BatcherConfig) -> Gathered {
        let deadline = Instant::now() + config.flush_timeout;
        let mut merge = Merge::new(first);
        while merge.items() < config.min_size as u64 && merge.size < MAX_MERGED_BYTES {
            // A closed queue ends the wait, and so does the timeout: then what is here goes out.
            let Ok(Some(queued)) = timeout_at(deadline, queue.pop()).await else {
                break;
            };
            let items = merge.items() + queued.batch.items();
            let over = config.max_size > 0 && items > config.max_size as u64;
            if over || merge.size + queued.batch.bytes.len() > MAX_MERGED_BYTES {
                self.next = Some(queued);
                break;
            }
            merge.add(queued);
        }
        merge.finish()
    }
}

/// Batches on their way into one request. Their bytes are copied once, at the end, when the size
/// is known; a batch that stays alone is not copied.
struct Merge {
    parts: Vec<Bytes>,
    size: usize,
    tally: crate::ledger::Tally,
    permits: Vec<Permit>,
}

impl Merge {
    fn new(Queued { batch, permit }: Queued) -> Self {
        let size = batch.bytes.len();
        Self {
            parts: vec![batch.bytes],
            size,
            tally: batch.tally,
            permits: vec![permit],
        }
    }

    fn items(&self) -> u64 {
        self.tally.items()
    }

    fn add(&mut self, Queued { batch, permit }: Queued) {
        self.size += batch.bytes.len();
        self.parts.push(batch.bytes);
        self.tally.join(batch.tally);
        self.permits.push(permit);
    }

    fn finish(mut self) -> Gathered {
        let bytes = match self.parts.pop() {
            Some(only) if self.parts.is_empty() => only,
            last => {
                // The top field of every OTLP request is repeated: concatenation merges.
                let mut merged = BytesMut::with_capacity(self.size);
                self.parts
                    .iter()
                    .chain(&last)
                    .for_each(|part| merged.extend_from_slice(part));
                merged.freeze()
            }
        };
        Gathered {
            batch: Batch {
                bytes,
                tally: self.tally,
            },
            permits: self.permits,
        }
    }
}

/// How many items a request like this may have: `max_size`, and less when it would be too long.
fn most_items(batch: &Batch, max_size: usize) -> usize {
    let items = usize::try_from(batch.items()).unwrap_or(usize::MAX);
    let by_size = if max_size == 0 { usize::MAX } else { max_size };
    let by_bytes = match batch.bytes.len().div_ceil(MAX_SENT_BYTES) {
        0 | 1 => usize::MAX,
        pieces => items.div_ceil(pieces),
    };
    by_size.min(by_bytes).max(1)
}

/// Cuts a request into pieces of at most `max_size` items (a single metric may have more). One whose
/// resources are too large to repeat in each piece goes out whole.
fn cut(signal: Signal, gathered: Gathered, max_size: usize) -> VecDeque<Gathered> {
    let Gathered {
        batch: Batch { bytes, mut tally },
        permits,
    } = gathered;
    let Some(parts) = spandrel_wire::split_by_size(signal, &bytes, max_size) else {
        tracing::warn!(
            items = tally.items(),
            bytes = bytes.len(),
            "batch is not cut, its resources are too large to repeat"
        );
        return VecDeque::from([Gathered {
            batch: Batch { bytes, tally },
            permits,
        }]);
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
            batch,
            permits: permits.clone(),
        }
    };
    parts.into_iter().enumerate().map(piece).collect()
}
