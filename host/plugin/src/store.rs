//! The data of a store besides the guest itself: its limits, its clock, its output.

use std::sync::Arc;
use std::time::Duration;

use spandrel_pipeline::stage::Input;
use spandrel_supply::InstanceLimits;
use tokio::time::Instant;
use tracing::Level;
use wasmtime::component::ResourceTable;
use wasmtime::{Store, StoreContextMut, UpdateDeadline};
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};

use crate::clock::TICK;
use crate::limits::{HANDLES, Limiter, RANDOM_BYTES};
use crate::log::GuestLog;
use crate::log::pipe::Pipe;
use crate::metrics::Metrics;

/// The time that a guest runs before other tasks get their turn: 10 ms.
const SLICE_TICKS: u64 = 2;

/// The data of a guest's store.
pub(crate) struct Guest {
    wasi: WasiCtx,
    table: ResourceTable,
    limiter: Limiter,
    log: Arc<GuestLog>,
    metrics: Arc<Metrics>,
    stdout: Pipe,
    stderr: Pipe,
    started: Instant,
    /// Ticks that the call may still run after its current slice.
    ticks_left: u64,
    /// The batch in hand, while the guest has only a projection of it.
    loan: BatchLoan,
}

/// The batch that a guest may ask for.
enum BatchLoan {
    /// The guest may not ask: it has the whole batch, or it has none.
    None,
    Offer(Input),
    /// The guest has asked and may not ask again.
    Spent,
}

impl Guest {
    /// Writes a line of the guest, or about it, to the collector's log.
    pub(crate) fn write_line(&self, level: Level, line: &str) {
        self.log.write(level, line);
    }

    pub(crate) fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    pub(crate) fn started(&self) -> Instant {
        self.started
    }

    pub(crate) fn limiter(&self) -> &Limiter {
        &self.limiter
    }

    /// Has the whole batch at hand for the call that follows.
    pub(crate) fn lend(&mut self, batch: Input) {
        self.loan = BatchLoan::Offer(batch);
    }

    /// Ends the loan: the call is over.
    pub(crate) fn take_back(&mut self) {
        self.loan = BatchLoan::None;
    }

    /// Returns the whole batch when the guest asks for it. It may ask once in a call: each time
    /// costs a splice and a copy.
    pub(crate) fn whole_batch(&mut self) -> wasmtime::Result<Vec<u8>> {
        match std::mem::replace(&mut self.loan, BatchLoan::Spent) {
            BatchLoan::Offer(batch) => Ok(batch.whole().into()),
            BatchLoan::None => {
                self.loan = BatchLoan::None;
                Ok(Vec::new())
            }
            BatchLoan::Spent => Err(wasmtime::Error::msg("asked for the whole batch twice")),
        }
    }

    pub(crate) fn panic_message(&self) -> Option<String> {
        self.stderr.panic_message()
    }

    /// Takes the next slice from the rest of the call's time; `None` if the deadline is reached.
    fn next_slice(&mut self) -> Option<u64> {
        let slice = self.ticks_left.min(SLICE_TICKS);
        self.ticks_left = self.ticks_left.saturating_sub(slice);
        (slice > 0).then_some(slice)
    }
}

impl Drop for Guest {
    /// Logs the last words: a line without an end, and the count of lines left out.
    fn drop(&mut self) {
        self.stdout.finish();
        self.stderr.finish();
        self.log.settle();
    }
}

impl WasiView for Guest {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView {
            ctx: &mut self.wasi,
            table: &mut self.table,
        }
    }
}

/// Makes a store under `limits`, whose guest may see the clock and random numbers, and nothing
/// else.
pub(crate) fn new(
    engine: &wasmtime::Engine,
    limits: &InstanceLimits,
    log: &Arc<GuestLog>,
    metrics: &Arc<Metrics>,
) -> Store<Guest> {
    let stdout = Pipe::new(Arc::clone(log), Level::INFO);
    let stderr = Pipe::new(Arc::clone(log), Level::WARN);
    let mut table = ResourceTable::new();
    table.set_max_capacity(HANDLES);
    let guest = Guest {
        wasi: wasi(&stdout, &stderr),
        table,
        limiter: Limiter::new(limits.memory_bytes),
        log: Arc::clone(log),
        metrics: Arc::clone(metrics),
        stdout,
        stderr,
        started: Instant::now(),
        ticks_left: 0,
        loan: BatchLoan::None,
    };
    let mut store = Store::new(engine, guest);
    store.limiter(|guest| &mut guest.limiter);
    // The bytes that one call or one host function may copy to the host.
    store.set_hostcall_fuel(limits.reply_bytes);
    store.epoch_deadline_callback(end_of_slice);
    store
}

fn wasi(stdout: &Pipe, stderr: &Pipe) -> WasiCtx {
    WasiCtx::builder()
        .stdout(stdout.clone())
        .stderr(stderr.clone())
        .allow_tcp(false)
        .allow_udp(false)
        .allow_ip_name_lookup(false)
        .max_random_size(RANDOM_BYTES)
        .build()
}

/// Gives the call in hand its time to run. It is counted in ticks while the call runs: the turns of
/// other tasks between its slices do not count.
pub(crate) fn begin_call(store: &mut Store<Guest>, deadline: Duration) {
    let ticks = deadline.as_millis().div_ceil(TICK.as_millis().max(1));
    let guest = store.data_mut();
    guest.limiter.begin_call();
    // One more, because the current tick is partly over.
    guest.ticks_left = u64::try_from(ticks).unwrap_or(u64::MAX).saturating_add(1);
    let slice = guest.next_slice().unwrap_or(1);
    store.set_epoch_deadline(slice);
}

#[expect(clippy::unnecessary_wraps, reason = "the signature of a callback")]
fn end_of_slice(mut context: StoreContextMut<'_, Guest>) -> wasmtime::Result<UpdateDeadline> {
    Ok(match context.data_mut().next_slice() {
        Some(slice) => UpdateDeadline::YieldCustom(slice, Box::pin(tokio::task::yield_now())),
        None => UpdateDeadline::Interrupt,
    })
}
