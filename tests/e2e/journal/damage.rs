//! A journal with every kind of damage: the spans that arrive and the losses in the figures add up
//! to the acknowledged ones, or the figures say that there are losses of unknown size.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, Result, ensure};
use spandrel_tests::backend::Backend;
use spandrel_tests::client::Client;
use spandrel_tests::config::Config;
use spandrel_tests::shop::Shop;
use spandrel_tests::until::{say, until};

use super::site::{SOON, Site};

/// Returns the files of the ingress log whose names begin with `name`, the oldest first.
fn files(site: &Site, name: &str) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(site.data().join("ingress"))? {
        let path = entry?.path();
        let is_one = path
            .file_name()
            .is_some_and(|file| file.to_string_lossy().starts_with(name));
        found.extend(is_one.then_some(path));
    }
    found.sort();
    Ok(found)
}

/// Returns the end of the records in a segment: its last byte that is not zero, without the header
/// at the end.
fn end(bytes: &[u8]) -> usize {
    let records = &bytes[..bytes.len() - 512];
    records
        .iter()
        .rposition(|byte| *byte != 0)
        .unwrap_or_default()
}

fn change(path: &Path, change: impl FnOnce(&mut Vec<u8>, usize)) -> Result<()> {
    let mut bytes = std::fs::read(path)?;
    let end = end(&bytes);
    change(&mut bytes, end);
    std::fs::write(path, bytes)?;
    Ok(())
}

type Damage = fn(&Site) -> Result<()>;

/// Returns the first segment, which contains all records.
fn first(site: &Site) -> Result<PathBuf> {
    let mut segments = files(site, "segment-")?;
    segments.retain(|path| std::fs::read(path).is_ok_and(|bytes| end(&bytes) > 4096));
    segments.into_iter().next().context("no segment")
}

fn every_checkpoint(site: &Site) -> Result<()> {
    for path in files(site, "checkpoint-")? {
        change(&path, |bytes, _| {
            bytes.iter_mut().for_each(|byte| *byte ^= 0x55)
        })?;
    }
    Ok(())
}

const DAMAGES: [(&str, Damage); 11] = [
    ("nothing", |_| Ok(())),
    ("a byte in the middle", |site| {
        change(&first(site)?, |bytes, end| bytes[end / 2] ^= 1)
    }),
    ("a byte of each page", |site| {
        change(&first(site)?, |bytes, end| {
            (4096..end).step_by(4096).for_each(|at| bytes[at] ^= 1);
        })
    }),
    ("a page of zeros", |site| {
        change(&first(site)?, |bytes, end| {
            let at = (end / 2) & !4095;
            bytes[at..at + 4096].fill(0);
        })
    }),
    ("the last record", |site| {
        change(&first(site)?, |bytes, end| bytes[end - 20] ^= 1)
    }),
    ("cut off in a record", |site| {
        change(&first(site)?, |bytes, end| bytes.truncate(end / 2))
    }),
    ("one head", |site| {
        change(&first(site)?, |bytes, _| bytes[..512].fill(0xff))
    }),
    ("both heads", |site| {
        change(&first(site)?, |bytes, _| {
            let last = bytes.len() - 512;
            bytes[..512].fill(0xff);
            bytes[last..].fill(0xff);
        })
    }),
    ("every checkpoint", every_checkpoint),
    ("the segment is gone", |site| {
        std::fs::remove_file(first(site)?).map_err(Into::into)
    }),
    ("a foreign file", |site| {
        std::fs::write(first(site)?, b"not a segment".repeat(100_000)).map_err(Into::into)
    }),
];

/// The time after which a log without new checkpoints is quiet. A log whose checkpoint is not up to
/// date writes one within 100 ms.
const QUIET: Duration = Duration::from_millis(700);

/// Waits until the log has recorded on disk what it acknowledged: it has written a checkpoint since
/// then, and does not need another one.
async fn checkpointed(site: &Site, since: SystemTime) -> Result<()> {
    let changed = |path: PathBuf| {
        std::fs::metadata(path)
            .and_then(|file| file.modified())
            .ok()
    };
    let look = || async {
        let checkpoints = files(site, "checkpoint-").ok()?.into_iter();
        let newest = checkpoints.filter_map(changed).max()?;
        let is_quiet = newest.elapsed().is_ok_and(|since| since > QUIET);
        (newest > since && is_quiet).then_some(())
    };
    until("a checkpoint", look).await
}

/// After every kind of damage, the acknowledged spans arrive or are counted as lost, or the figures
/// say that there are losses of unknown size.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_lost_is_in_a_figure() -> Result<()> {
    for (number, (what, damage)) in (0..).zip(DAMAGES) {
        let context = || format!("damage: {what}");
        one(number, what, damage).await.with_context(context)?;
    }
    Ok(())
}

async fn one(number: u64, what: &str, damage: Damage) -> Result<()> {
    let mut backend = Backend::start().await?;
    let site = Site::new(&Config::new(backend.endpoint()).exporter(SOON))?;
    let collector = site.start().await?;
    backend.go_away().await?;
    let mut client = Client::connect(&collector.address("otlp")?).await?;
    let mut shop = Shop::new(number);
    let since = SystemTime::now();
    for _ in 0..10 {
        client.send(shop.request(20)).await?;
    }
    let told: HashSet<u64> = client.delivered.iter().copied().collect();
    checkpointed(&site, since).await?;
    collector.kill().await?;
    damage(&site)?;
    backend.come_back()?;

    let collector = site.start().await?;
    // Waits until nothing is unfinished any more.
    let look = || async {
        let metrics = collector.metrics().await.ok()?;
        let waits = metrics.sum("spandrel_journal_unfinished_items", &[]);
        (waits == 0).then_some(metrics)
    };
    let metrics = until("an empty journal", look).await?;
    let arrived = told
        .iter()
        .filter(|id| backend.taken().spans.contains_key(id))
        .count() as u64;
    let lost = metrics.sum("spandrel_journal_lost_items_total", &[]);
    let unknown = metrics.sum("spandrel_journal_lost_records_of_unknown_size_total", &[])
        + metrics.sum("spandrel_journal_doubtful_records_and_files_total", &[]);
    let told = told.len() as u64;
    say(&format!(
        "{what}: {told} acknowledged, {arrived} arrived, {lost} lost, {unknown} losses of unknown size"
    ));
    ensure!(arrived + lost <= told, "more than was acknowledged");
    let ends = (arrived, lost, unknown);
    match what {
        "nothing" => ensure!(ends == (told, 0, 0), "{ends:?}"),
        // The other header, or the records themselves, contain the same information.
        "one head" | "every checkpoint" => ensure!(arrived == told, "{ends:?}"),
        "a byte in the middle" | "the last record" => {
            ensure!(arrived > 0 && unknown == 0, "{ends:?}");
        }
        _ => {}
    }
    ensure!(
        arrived + lost == told || unknown > 0,
        "{} spans are in no figure",
        told - arrived - lost
    );
    let ended = collector.stop().await?;
    ended.expect_code(0)?;
    let ledger = ended.ledger("traces")?;
    ledger.check()?;
    let last = ended
        .log
        .find(|line| line.message() == "Shutdown complete.");
    let last = last.context("no last line")?;
    ensure!(
        last.count("damaged").unwrap_or_default() == lost,
        "{}",
        last.raw
    );
    ensure!(
        last.count("unknown_losses").unwrap_or_default() == unknown,
        "{}",
        last.raw
    );
    Ok(())
}
