//! The exporter's file is moved, deleted, truncated, rotated, or has no room: every span is in one
//! of the files, once, in whole lines.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use spandrel_tests::client::Client;
use spandrel_tests::collector::{Collector, Setup};
use spandrel_tests::config::Config;
use spandrel_tests::shop::{Shop, span_ids};
use spandrel_tests::tmpfs::{Tmpfs, in_a_namespace};
use spandrel_tests::until::until;

/// Makes a setup that sends nothing to its backend: a file replaces it.
fn setup() -> Result<Setup> {
    Setup::new(&Config::new("http://127.0.0.1:1").yaml())
}

struct Site {
    setup: Setup,
    collector: Collector,
    client: Client,
    shop: Shop,
    file: PathBuf,
}

impl Site {
    async fn start(keys: &str) -> Result<Self> {
        let setup = setup()?;
        let file = setup.file("traces.jsonl");
        Self::start_in(setup, file, keys).await
    }

    async fn start_in(setup: Setup, file: PathBuf, keys: &str) -> Result<Self> {
        let exporter = format!("{{ path: \"{}\"{keys} }}", file.display());
        let setup = setup
            .set("exporters::file", &exporter)
            .set("service::pipelines::traces::exporters", "[file]");
        let collector = Collector::start(&setup).await?;
        let client = Client::connect(&collector.address("otlp")?).await?;
        Ok(Self {
            setup,
            collector,
            client,
            shop: Shop::new(91),
            file,
        })
    }

    /// Sends this many requests, each of which becomes a line.
    async fn send(&mut self, lines: usize) -> Result<()> {
        for _ in 0..lines {
            let request = self.shop.request(20);
            self.client.send(request).await?;
        }
        Ok(())
    }

    /// Waits until all delivered spans are counted as exported.
    async fn written(&self) -> Result<()> {
        let items = self.client.delivered.len() as u64;
        let written = until("all spans in files", || async {
            let metrics = self.collector.metrics().await.ok()?;
            let sent = metrics.sum("otelcol_exporter_sent_spans", &[("exporter", "file")]);
            (sent == items).then_some(())
        });
        written.await.with_context(|| self.collector.log().tail())
    }

    /// Waits until an export has failed because the disk is full.
    async fn has_no_room(&self) -> Result<()> {
        let failed = "exporting failed, will retry after the wait";
        let line = self.collector.wait_for_message(failed).await?;
        let error = line.text("error").unwrap_or_default();
        ensure!(error.contains("No space left"), "{error}");
        Ok(())
    }

    /// Stops it, and checks that every span with an OK is in one of the files, once.
    async fn finish(self, files: &[PathBuf]) -> Result<()> {
        let ended = self.collector.stop().await?;
        ended.expect_code(0)?;
        ended.ledger_of("traces", "file")?.check()?;
        let mut found: HashMap<u64, u32> = HashMap::new();
        for file in files {
            for id in ids(file)? {
                *found.entry(id).or_default() += 1;
            }
        }
        let missing = self.client.delivered.iter();
        let missing = missing.filter(|id| !found.contains_key(id)).count();
        ensure!(
            missing == 0,
            "{missing} of {} are in no file",
            self.client.delivered.len()
        );
        ensure!(found.values().all(|count| *count == 1), "some came twice");
        Ok(())
    }

    /// Returns the files beside the current one.
    fn backups(&self) -> Result<Vec<PathBuf>> {
        let mut backups = Vec::new();
        for entry in std::fs::read_dir(self.setup.folder())? {
            let path = entry?.path();
            let name = path
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned();
            if name.starts_with("traces-") && name.ends_with(".jsonl") {
                backups.push(path);
            }
        }
        backups.sort();
        Ok(backups)
    }
}

/// Returns the ids of the spans in a file, and checks that every line is one whole request.
fn ids(file: &Path) -> Result<Vec<u64>> {
    let text = std::fs::read_to_string(file).with_context(|| file.display().to_string())?;
    ensure!(
        text.is_empty() || text.ends_with('\n'),
        "{} ends in half a line",
        file.display()
    );
    let mut ids = Vec::new();
    for line in text.lines() {
        let request: ExportTraceServiceRequest = serde_json::from_str(line)
            .with_context(|| format!("{}: {line:.80}", file.display()))?;
        ids.extend(span_ids(&request));
    }
    Ok(ids)
}

/// After `mv`, the next line starts another file at the path.
#[tokio::test]
async fn a_file_that_is_moved_is_begun_anew() -> Result<()> {
    let mut site = Site::start("").await?;
    site.send(5).await?;
    site.written().await?;
    let moved = site.setup.file("moved.jsonl");
    std::fs::rename(&site.file, &moved)?;
    let before = ids(&moved)?;
    site.send(5).await?;
    site.written().await?;
    assert_eq!(ids(&moved)?, before, "written to the file that was moved");
    let file = site.file.clone();
    site.finish(&[moved, file]).await
}

/// After `mv` and SIGHUP, as logrotate does, the file is there again without a line to write, and
/// the moved one is closed.
#[tokio::test]
async fn a_hang_up_opens_the_file_again() -> Result<()> {
    let mut site = Site::start(", append: true").await?;
    site.send(5).await?;
    site.written().await?;
    let moved = site.setup.file("moved.jsonl");
    std::fs::rename(&site.file, &moved)?;
    site.collector.hang_up()?;
    until("the file", || async { site.file.exists().then_some(()) }).await?;
    let closed = || async {
        let open = std::fs::read_dir(format!("/proc/{}/fd", site.collector.id())).ok()?;
        let mut open = open.filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok());
        (!open.any(|file| file == moved)).then_some(())
    };
    until("the moved file to be closed", closed).await?;
    site.send(5).await?;
    site.written().await?;
    let file = site.file.clone();
    site.finish(&[moved, file]).await
}

/// After logrotate's copytruncate, the next line begins at the start of the file, without NUL
/// bytes.
#[tokio::test]
async fn a_file_that_is_truncated_goes_on_at_its_start() -> Result<()> {
    let mut site = Site::start("").await?;
    site.send(5).await?;
    site.written().await?;
    let copy = site.setup.file("copy.jsonl");
    std::fs::copy(&site.file, &copy)?;
    std::fs::OpenOptions::new()
        .write(true)
        .open(&site.file)?
        .set_len(0)?;
    site.send(5).await?;
    site.written().await?;
    let file = site.file.clone();
    site.finish(&[copy, file]).await
}

/// A deleted file is made again: nothing more goes into the one that nobody can read.
#[tokio::test]
async fn a_file_that_is_deleted_is_made_again() -> Result<()> {
    let mut site = Site::start("").await?;
    site.send(5).await?;
    site.written().await?;
    let kept = site.setup.file("kept.jsonl");
    std::fs::copy(&site.file, &kept)?;
    std::fs::remove_file(&site.file)?;
    site.send(5).await?;
    site.written().await?;
    let file = site.file.clone();
    site.finish(&[kept, file]).await
}

/// With `rotation`, files have at most the given size and the Collector's names, and only the given
/// number stays.
#[tokio::test]
async fn a_file_is_rotated_by_size() -> Result<()> {
    let rotation = ", rotation: { max_megabytes: 1, max_backups: 3 }";
    let mut site = Site::start(rotation).await?;
    // This is about 12 MiB.
    let mut shop = Shop::new(92);
    for _ in 0..24 {
        site.client.send(shop.request(500)).await?;
    }
    site.written().await?;
    let backups = site.backups()?;
    assert_eq!(backups.len(), 3, "{backups:?}");
    for file in backups.iter().chain([&site.file]) {
        let length = std::fs::metadata(file)?.len();
        assert!(length <= 1 << 20, "{} has {length} bytes", file.display());
        ids(file)?;
    }
    assert!(site.collector.log().count_of("file rotated") > 5);
    let ended = site.collector.stop().await?;
    ended.expect_code(0)?;
    ended.ledger_of("traces", "file")?.check()
}

/// With room for all backups no span is missing, also across a restart: rotation appends.
#[tokio::test]
async fn rotated_files_have_everything() -> Result<()> {
    let rotation = ", rotation: { max_megabytes: 1 }";
    let mut site = Site::start(rotation).await?;
    let mut shop = Shop::new(93);
    for _ in 0..4 {
        site.client.send(shop.request(500)).await?;
    }
    site.written().await?;
    let delivered = site.client.delivered.clone();
    site.collector.stop().await?.expect_code(0)?;
    let mut site = Site::start_in(site.setup, site.file, rotation).await?;
    for _ in 0..4 {
        site.client.send(shop.request(500)).await?;
    }
    site.written().await?;
    site.client.delivered.extend(delivered);
    let mut files = site.backups()?;
    assert!(files.len() >= 2, "{files:?}");
    files.push(site.file.clone());
    site.finish(&files).await
}

/// A process that was killed in the middle of a line leaves half of it. The next process removes
/// it; other text without an end of line stays a line of its own.
#[tokio::test]
async fn half_a_line_is_not_left_in_the_middle() -> Result<()> {
    let half = r#"{"resourceSpans":[{"scopeSp"#;
    for (left, kept) in [(half, ""), ("{}", "{}\n"), ("# mine", "# mine\n")] {
        let setup = setup()?;
        let file = setup.file("traces.jsonl");
        std::fs::write(&file, format!("# first\n{left}"))?;
        let mut site = Site::start_in(setup, file, ", append: true").await?;
        site.send(2).await?;
        site.written().await?;
        let text = std::fs::read_to_string(&site.file)?;
        let rest = text.strip_prefix(&format!("# first\n{kept}"));
        let rest = rest.with_context(|| format!("{left}: {text:.100}"))?;
        assert_eq!(rest.lines().count(), 2, "{left}");
        assert!(rest.starts_with("{\"resourceSpans\""), "{left}: {rest:.40}");
        site.collector.stop().await?.expect_code(0)?;
    }
    Ok(())
}

/// On a device without room nothing is counted as exported, and the spans are retried.
#[tokio::test]
async fn no_room_is_a_failed_export() -> Result<()> {
    let setup = setup()?;
    let mut site = Site::start_in(setup, "/dev/full".into(), "").await?;
    site.send(1).await?;
    site.has_no_room().await?;
    let metrics = site.collector.metrics().await?;
    assert_eq!(
        metrics.sum("otelcol_exporter_sent_spans", &[("exporter", "file")]),
        0
    );
    Ok(())
}

/// If a disk becomes full in the middle of a line, the file still ends in a whole line, and once
/// there is room everything is written.
#[tokio::test]
async fn a_full_disk_leaves_no_half_line() -> Result<()> {
    let setup = setup()?;
    let disk = setup.file("disk");
    let Some(_mounted) = Tmpfs::mount(&disk, 1)? else {
        return in_a_namespace("rotation::a_full_disk_leaves_no_half_line");
    };
    let filler = disk.join("filler");
    std::fs::write(&filler, vec![0; 700 << 10])?;
    let mut site = Site::start_in(setup, disk.join("traces.jsonl"), "").await?;
    // Several hundred KiB, in lines that do not end at the end of a page.
    for _ in 0..8 {
        let request = site.shop.request(60);
        site.client.send(request).await?;
    }
    site.has_no_room().await?;
    // Another attempt may be about to remove the half line that it has written.
    let look = || async { ids(&site.file).ok().filter(|ids| !ids.is_empty()) };
    until("whole lines, of what fits", look).await?;
    std::fs::remove_file(&filler)?;
    site.written().await?;
    let file = site.file.clone();
    site.finish(&[file]).await
}
