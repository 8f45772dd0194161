//! The delivery of one request: it is sent as it is and, where the backend refuses that for good, in
//! halves, so that only the items at fault are lost.

use std::collections::VecDeque;

use super::sender::{RetryingSender, SendEnd};
use crate::backoff::Backoff;
use crate::batcher::OutgoingRequest;
use crate::exporter::Refuses;
use crate::ledger::End;

/// The number of refusals after which the parts of a request that was refused for good are not
/// taken apart any more, but sent once more as they are. The request was merged from more batches
/// than this, or from fewer at less than twice the cost of never having merged them, and a backend
/// that refuses everything gets no more than that.
const MOST_REFUSALS: usize = 256;

/// The same number if the backend took no part of the previous request: then the data is not at
/// fault. It is enough to find out that the backend takes a part of this one.
const FEW_REFUSALS: usize = 16;

/// The delivery of one request.
pub(super) struct Delivery {
    sender: RetryingSender,
    /// The time and the waits of the attempts that run.
    backoff: Backoff,
    /// The parts that are still to be sent. The largest come first: if time is up, or refusals are
    /// too many, the parts that are left are small.
    parts: VecDeque<OutgoingRequest>,
    losses: Losses,
}

impl Delivery {
    pub(super) fn new(sender: RetryingSender, request: OutgoingRequest) -> Self {
        Self {
            backoff: sender.begin(),
            sender,
            parts: VecDeque::from([request]),
            losses: Losses::default(),
        }
    }

    /// Sends until the backend has the request, refuses it for good, or time is up. A request that
    /// is refused is halved; one that is longer than the backend is known to take is halved before
    /// it is sent. If this is cancelled, the items are abandoned.
    pub(super) async fn run(mut self) {
        while let Some(request) = self.next_part() {
            match self.sender.send(&request, &mut self.backoff).await {
                SendEnd::Final(end) => self.settle(request, end),
                SendEnd::Refused(refuses, error) => {
                    self.backoff = self.sender.begin();
                    self.halve_or_lose(request, refuses, error);
                }
                SendEnd::ToLog => {
                    self.parts.push_front(request);
                    break;
                }
            }
        }
        let settings = &self.sender.settings;
        if self.losses.is_all && self.losses.refusals > FEW_REFUSALS {
            settings.backend().refused_all();
        }
        self.losses.tell(&settings.name);
        if let Some(rest) = OutgoingRequest::merge(self.parts.into()) {
            self.sender.send_to_log(rest);
        }
    }

    /// Returns the next part, not longer than the backend is known to take if it can be halved.
    fn next_part(&mut self) -> Option<OutgoingRequest> {
        let mut request = self.parts.pop_front()?;
        let most_bytes = || self.sender.settings.backend().most_bytes();
        while request.bytes().len() > most_bytes() {
            let rest = request.halve(self.sender.signal);
            if rest.is_empty() {
                break;
            }
            for part in rest.into_iter().rev() {
                self.parts.push_front(part);
            }
        }
        Some(request)
    }

    /// Books the end of a part.
    fn settle(&mut self, request: OutgoingRequest, end: End) {
        // The backend answers, so the next part has all the time that any request has. Once a part
        // was given up without an answer, the others share its time: a backend that is gone takes
        // `max_elapsed_time` once, not once for each part.
        if matches!(end, End::Sent { .. }) {
            self.backoff = self.sender.begin();
            self.losses.is_all = false;
            let bytes = request.bytes().len();
            self.sender.settings.backend().took(bytes);
        }
        request.settle(end);
    }

    /// Halves a part that was refused for good. If it has no halves, or halving is of no use any
    /// more, its items are lost.
    fn halve_or_lose(&mut self, mut request: OutgoingRequest, refuses: Refuses, error: String) {
        let backend = self.sender.settings.backend();
        if let Refuses::Size { limit } = refuses {
            backend.refused(request.bytes().len(), limit, &error);
        }
        let is_hopeless = self.losses.is_all && backend.refuses_all();
        let most = if is_hopeless {
            FEW_REFUSALS
        } else {
            MOST_REFUSALS
        };
        let may_halve = refuses != Refuses::Everything && self.losses.refusals < most;
        self.losses.refusals += 1;
        let rest = match may_halve {
            true => request.halve(self.sender.signal),
            false => Vec::new(),
        };
        if rest.is_empty() {
            let is_too_long = matches!(refuses, Refuses::Size { .. }) && may_halve;
            self.losses.add(request, is_too_long, error);
        } else {
            self.parts.push_back(request);
            self.parts.extend(rest);
        }
    }
}

/// The part of one request that was refused for good.
struct Losses {
    refusals: usize,
    /// True if nothing of the request was taken.
    is_all: bool,
    items: u64,
    error: String,
    /// The items among these that are too long even alone, and the longest of them in bytes.
    too_large: u64,
    longest: usize,
}

impl Default for Losses {
    fn default() -> Self {
        Self {
            refusals: 0,
            is_all: true,
            items: 0,
            error: String::new(),
            too_large: 0,
            longest: 0,
        }
    }
}

impl Losses {
    fn add(&mut self, request: OutgoingRequest, is_too_long: bool, error: String) {
        let items = request.items();
        self.items += items;
        self.error = error;
        if is_too_long {
            self.too_large += items;
            self.longest = self.longest.max(request.bytes().len());
            request.settle(End::TooLarge);
        } else {
            request.settle(End::Failed);
        }
    }

    /// Logs a line or two, regardless of the number of refused parts.
    fn tell(&self, exporter: &str) {
        let Self {
            refusals,
            items,
            error,
            too_large,
            longest,
            ..
        } = self;
        if *too_large > 0 {
            tracing::error!(
                exporter,
                items = too_large,
                max_bytes = longest,
                error,
                "items are too long for the backend even alone, given up"
            );
        }
        if items > too_large {
            tracing::error!(
                exporter,
                items = items - too_large,
                refusals,
                error,
                "exporting failed for good, items given up"
            );
        } else if *refusals > 0 && *items == 0 {
            tracing::info!(
                exporter,
                refusals,
                "backend takes a request in parts that it refused as a whole"
            );
        }
    }
}
