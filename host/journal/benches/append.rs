//! Measures the cost of an acknowledged append beside the device's own sync. `cargo bench -p
//! spandrel-journal` prints, for batches of each size, a raw probe (one thread that writes as many
//! bytes to an allocated file, and syncs) and the journal with one and with many senders, and then
//! the ratios. Probe and journal take turns, so that both meet the same conditions.

use std::fs::File;
use std::io::{Write, stdout};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use spandrel_journal::{Options, Store};
use spandrel_pipeline::journal::{Journal, Log};
use tokio::task::JoinSet;
use tokio::time::Instant;

const SIZES: [usize; 4] = [4 << 10, 64 << 10, 256 << 10, 1 << 20];
const SENDERS: [usize; 3] = [1, 16, 64];

/// The number of appends in one turn of the probe or the journal.
const TURN: usize = 40;
const TURNS: usize = 8;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
    let mut out = stdout().lock();
    writeln!(
        out,
        "{:>10} {:>8} {:>19} {:>19} {:>9} {:>17} {:>9}",
        "bytes",
        "senders",
        "probe p50/p99 ms",
        "append p50/p99 ms",
        "p50 ratio",
        "MB/s probe/log",
        "records/sync"
    )?;
    for size in SIZES {
        for senders in SENDERS {
            row(&mut out, dir.path(), size, senders)?;
        }
    }
    Ok(())
}

fn row(
    out: &mut impl Write,
    dir: &Path,
    size: usize,
    senders: usize,
) -> Result<(), Box<dyn std::error::Error>> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    let own = tempfile::tempdir_in(dir)?;
    let (store, _) = Store::open(Options::new(own.path().join("journal")))?;
    let probe = Probe::new(&own.path().join("probe"), 16 << 20)?;
    let batch = Bytes::from(vec![7; size]);
    // This makes the first segments, which are used again afterwards.
    runtime.block_on(appends(&store.ingress(), &batch, senders, TURN));
    let (mut raw, mut logged) = (Times::default(), Times::default());
    let before = store.counters();
    for _ in 0..TURNS {
        raw.add(probe.run(&batch, TURN)?);
        logged.add(runtime.block_on(appends(&store.ingress(), &batch, senders, TURN * senders)));
    }
    let after = store.counters();
    let records = after.records - before.records;
    let syncs = (after.syncs - before.syncs).max(1);
    writeln!(
        out,
        "{size:>10} {senders:>8} {:>9.2} {:>9.2} {:>9.2} {:>9.2} {:>9.2} {:>8.1} {:>8.1} {:>9.1}",
        raw.at(0.5),
        raw.at(0.99),
        logged.at(0.5),
        logged.at(0.99),
        logged.at(0.5) / raw.at(0.5),
        raw.rate(size),
        logged.rate(size),
        records as f64 / syncs as f64,
    )?;
    store.close()?;
    Ok(())
}

/// The time of each append, and of all together.
#[derive(Default)]
struct Times {
    each: Vec<Duration>,
    all: Duration,
}

impl Times {
    fn add(&mut self, (mut each, all): (Vec<Duration>, Duration)) {
        self.each.append(&mut each);
        self.each.sort_unstable();
        self.all += all;
    }

    #[expect(clippy::cast_possible_truncation, reason = "a place in a short list")]
    fn at(&self, part: f64) -> f64 {
        let place = (self.each.len() as f64 * part) as usize;
        self.each
            .get(place)
            .map_or(0.0, |time| time.as_secs_f64() * 1e3)
    }

    fn rate(&self, size: usize) -> f64 {
        (self.each.len() * size) as f64 / self.all.as_secs_f64() / 1e6
    }
}

/// A file that is allocated, zeroed and used again, as the journal's files are.
struct Probe {
    file: File,
    size: usize,
}

impl Probe {
    fn new(path: &Path, size: usize) -> std::io::Result<Self> {
        let file = File::create(path)?;
        file.write_all_at(&vec![0; size], 0)?;
        file.sync_all()?;
        Ok(Self { file, size })
    }

    fn run(&self, batch: &[u8], times: usize) -> std::io::Result<(Vec<Duration>, Duration)> {
        let began = Instant::now();
        let mut each = Vec::new();
        for time in 0..times {
            let start = Instant::now();
            let offset = (time * batch.len()) % (self.size - batch.len() + 1);
            self.file
                .write_all_at(batch, u64::try_from(offset).unwrap_or(0))?;
            self.file.sync_data()?;
            each.push(start.elapsed());
        }
        Ok((each, began.elapsed()))
    }
}

/// Appends as senders do: each waits for its OK before its next append. Each record is finished at
/// once.
async fn appends(
    log: &Arc<dyn Log>,
    batch: &Bytes,
    senders: usize,
    times: usize,
) -> (Vec<Duration>, Duration) {
    let began = Instant::now();
    let mut tasks = JoinSet::new();
    for _ in 0..senders {
        let (log, batch) = (Arc::clone(log), batch.clone());
        tasks.spawn(async move {
            let mut each = Vec::new();
            for _ in 0..times / senders {
                let start = Instant::now();
                if let Ok(number) = log.append(batch.clone(), 1).await {
                    each.push(start.elapsed());
                    log.finish(number);
                }
            }
            each
        });
    }
    let each = tasks.join_all().await.concat();
    (each, began.elapsed())
}
