//! The processor time of calls. Wall-clock time says little about a plugin on a busy machine: a call
//! that waits for a core looks slow, whatever the plugin does.

use std::future::poll_fn;
use std::pin::pin;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// The number of first calls of an instance that are all measured, so that a plugin with few calls
/// is judged soon.
const FIRST_CALLS: u64 = 32;
/// After those, one call in so many is measured. Reading the clock of a thread is a system call of
/// about a microsecond, which is a few percent of a short call.
const ONE_IN: u64 = 16;

/// Chooses the calls whose processor time is measured.
#[derive(Debug, Default)]
pub(crate) struct CpuSampling {
    calls: u64,
}

impl CpuSampling {
    /// Makes a call, and returns its result with the processor time if it was measured.
    pub(crate) async fn call<T>(&mut self, call: impl Future<Output = T>) -> (T, Option<Duration>) {
        let number = self.calls;
        self.calls += 1;
        // The first call pays for the memory of the instance.
        if number == 0 || number > FIRST_CALLS && !number.is_multiple_of(ONE_IN) {
            return (call.await, None);
        }
        let mut call = pin!(call);
        let mut spent = Duration::ZERO;
        // The call may be polled by several threads, and others are polled between.
        let result = poll_fn(|context| {
            let began = thread_time();
            let polled = call.as_mut().poll(context);
            spent += thread_time().saturating_sub(began);
            polled
        });
        (result.await, Some(spent))
    }
}

/// Returns the processor time that this thread has used.
fn thread_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::try_from(time).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A call that sleeps takes no processor time, a call that computes does.
    #[tokio::test]
    async fn waiting_is_not_counted() {
        let mut sampling = CpuSampling::default();
        assert_eq!(sampling.call(async {}).await.1, None, "the first call");
        let waits = tokio::time::sleep(Duration::from_millis(50));
        let ((), waited) = sampling.call(waits).await;
        let computes = async {
            let began = thread_time();
            while thread_time() - began < Duration::from_millis(20) {
                std::hint::spin_loop();
            }
        };
        let ((), computed) = sampling.call(computes).await;
        let (waited, computed) = (waited.expect("measured"), computed.expect("measured"));
        assert!(waited < computed, "{waited:?} {computed:?}");
    }

    /// All first calls are measured, then one in sixteen.
    #[tokio::test]
    async fn few_calls_are_measured() {
        let mut sampling = CpuSampling::default();
        let mut measured = 0;
        for _ in 0..=FIRST_CALLS + 10 * ONE_IN {
            measured += u64::from(sampling.call(async {}).await.1.is_some());
        }
        assert_eq!(measured, FIRST_CALLS + 10);
    }
}
