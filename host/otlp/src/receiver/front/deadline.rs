//! The time within which a peer must do something.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Sleep, sleep};

/// The deadline of something that has begun, and the number of that; `None` if nothing has begun.
#[derive(Debug, Default)]
pub(crate) struct Deadline(Option<(u64, Pin<Box<Sleep>>)>);

impl Deadline {
    /// Returns an error once `limit` has passed since the first call with this number.
    pub(crate) fn check(
        &mut self,
        number: u64,
        limit: Duration,
        context: &mut Context<'_>,
    ) -> io::Result<()> {
        self.keep(number);
        let (_, sleep) = self
            .0
            .get_or_insert_with(|| (number, Box::pin(sleep(limit))));
        match sleep.as_mut().poll(context) {
            Poll::Ready(()) => Err(io::ErrorKind::TimedOut.into()),
            Poll::Pending => Ok(()),
        }
    }

    /// Forgets the deadline of anything with another number.
    pub(crate) fn keep(&mut self, number: u64) {
        self.0.take_if(|(known, _)| *known != number);
    }

    pub(crate) fn clear(&mut self) {
        self.0 = None;
    }
}
