//! The `file` receiver: replays OTLP/JSON lines once, at the speed of the pipeline.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use spandrel_pipeline::ingress::{Acceptance, Ingress};
use spandrel_pipeline::refused::Refused;
use spandrel_wire::Signal;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::file::json;
use crate::time_text::millis;

/// The longest line: roughly the size of the largest OTLP request as JSON.
const MAX_LINE_BYTES: u64 = 256 << 20;
/// The shortest wait before a refused batch is offered again.
const MIN_WAIT: Duration = Duration::from_millis(10);

/// Files that are open and not yet read.
#[derive(Debug)]
pub(crate) struct FileReceiver {
    id: String,
    files: Vec<(PathBuf, BufReader<File>)>,
}

/// The counts of a file's accepted and bad lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ReplayCounts {
    pub(crate) accepted: u64,
    pub(crate) bad: u64,
}

impl FileReceiver {
    /// Opens all files, so that a wrong path is known before anything starts.
    pub(crate) fn open(id: &str, paths: &[PathBuf]) -> Result<Self, (PathBuf, io::Error)> {
        let open = |path: &PathBuf| match File::open(path) {
            Ok(file) => Ok((path.clone(), BufReader::new(file))),
            Err(error) => Err((path.clone(), error)),
        };
        let files = paths.iter().map(open).collect::<Result<_, _>>()?;
        Ok(Self {
            id: id.to_owned(),
            files,
        })
    }

    /// Replays until all is read, or until told to stop.
    pub(crate) async fn replay(self, ingress: Arc<dyn Ingress>, stop: CancellationToken) {
        for (path, file) in self.files {
            let started = Instant::now();
            let replay = replay_file(&path, file, ingress.as_ref(), &stop);
            let replayed = replay.await;
            info!(
                receiver = %self.id,
                path = %path.display(),
                batches = replayed.accepted,
                bad_lines = replayed.bad,
                complete = !stop.is_cancelled(),
                elapsed_ms = millis(started),
                "file replayed"
            );
        }
    }
}

async fn replay_file(
    path: &Path,
    mut file: BufReader<File>,
    ingress: &dyn Ingress,
    stop: &CancellationToken,
) -> ReplayCounts {
    let mut replayed = ReplayCounts::default();
    let mut number = 0_u64;
    while !stop.is_cancelled() {
        // Reading and parsing take time, so the reader moves to a blocking thread and back.
        let read = tokio::task::spawn_blocking(move || {
            let line = read_line(&mut file);
            (file, line)
        });
        let Ok((reader, line)) = read.await else {
            break;
        };
        file = reader;
        number += 1;
        match line {
            Ok(Line::End) => break,
            Ok(Line::Empty) => {}
            Ok(Line::Batch(signal, batch)) if ingress.carries(signal) => {
                match offer(ingress, signal, batch, stop).await {
                    OfferOutcome::Accepted(Acceptance { refused, .. }) => {
                        replayed.accepted += 1;
                        if !refused.is_empty() {
                            warn!(path = %path.display(), line = number, items = refused.count, why = %refused, "invalid items refused");
                        }
                    }
                    OfferOutcome::Refused(error) => {
                        replayed.bad += 1;
                        warn!(path = %path.display(), line = number, error, "line refused");
                    }
                    OfferOutcome::Stopped => break,
                }
            }
            // No pipeline of this receiver takes the signal.
            Ok(Line::Batch(..)) => replayed.bad += 1,
            Ok(Line::Bad(error)) => {
                replayed.bad += 1;
                warn!(path = %path.display(), line = number, error, "line is not OTLP/JSON");
            }
            Err(error) => {
                error!(path = %path.display(), line = number, error = &error as &dyn std::error::Error, "cannot read on");
                break;
            }
        }
    }
    replayed
}

enum Line {
    Batch(Signal, Bytes),
    Bad(String),
    Empty,
    End,
}

fn read_line(file: &mut BufReader<File>) -> io::Result<Line> {
    let mut line = Vec::new();
    file.by_ref()
        .take(MAX_LINE_BYTES)
        .read_until(b'\n', &mut line)?;
    if line.is_empty() {
        return Ok(Line::End);
    }
    if line.last() != Some(&b'\n')
        && u64::try_from(line.len()).is_ok_and(|len| len >= MAX_LINE_BYTES)
    {
        return Err(io::Error::other(format!(
            "the line is longer than {} MiB",
            MAX_LINE_BYTES >> 20
        )));
    }
    if line.trim_ascii().is_empty() {
        return Ok(Line::Empty);
    }
    Ok(match json::from_line(&line) {
        Ok((signal, batch)) => Line::Batch(signal, batch),
        Err(error) => Line::Bad(match std::error::Error::source(&error) {
            Some(cause) => format!("{error}: {cause}"),
            None => error.to_string(),
        }),
    })
}

enum OfferOutcome {
    Accepted(Acceptance),
    Refused(String),
    Stopped,
}

/// Offers a batch again while it is refused for now. A file can wait.
async fn offer(
    ingress: &dyn Ingress,
    signal: Signal,
    batch: Bytes,
    stop: &CancellationToken,
) -> OfferOutcome {
    loop {
        let wait = match ingress.offer(signal, batch.clone()).await {
            Ok(accepted) => return OfferOutcome::Accepted(accepted),
            Err(
                Refused::Full { retry_after }
                | Refused::Fault { retry_after, .. }
                | Refused::Unwritten { retry_after, .. },
            ) => retry_after,
            Err(Refused::Draining) => return OfferOutcome::Stopped,
            Err(
                refused @ (Refused::Invalid(_) | Refused::Quarantined { .. } | Refused::Rejected),
            ) => {
                return OfferOutcome::Refused(refused.to_string());
            }
        };
        tokio::select! {
            () = tokio::time::sleep(wait.max(MIN_WAIT)) => {}
            () = stop.cancelled() => return OfferOutcome::Stopped,
        }
    }
}
