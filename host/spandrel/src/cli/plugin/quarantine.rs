//! `spandrel quarantine`: shows, replays and drops the batches that failed every time.

use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Subcommand};
use spandrel_admin::client::{self, Client, ClientError, understood};
use spandrel_collector::error_chain::in_one_line;
use spandrel_collector::quarantine::entry;
use spandrel_collector::quarantine::folder::Folder;
use spandrel_collector::quarantines;
use spandrel_collector::report::{QuarantineReport, QuarantinedView};

use super::failure::Failure;
use super::paint::Paint;
use super::table::{Column, number, table};
use super::{Connection, Output, finish, print, to_stderr};

#[derive(Debug, Args)]
pub(in crate::cli) struct QuarantineArguments {
    #[command(subcommand)]
    command: QuarantineCommand,
    /// Reads this `durability` folder directly, without a collector
    #[arg(long, global = true, value_name = "DIR", conflicts_with = "admin")]
    dir: Option<PathBuf>,
    #[command(flatten)]
    connection: Connection,
}

#[derive(Debug, Subcommand)]
enum QuarantineCommand {
    /// Lists the batches that failed every time, oldest first
    Ls,
    /// Shows one batch: the reason, and the request
    Show {
        /// The id that `ls` shows
        id: String,
    },
    /// Offers batches to their pipeline again; accepted ones leave the quarantine
    Replay(Which),
    /// Deletes batches
    Drop(Which),
}

#[derive(Debug, Args)]
struct Which {
    /// The id that `ls` shows
    #[arg(required_unless_present = "all", conflicts_with = "all")]
    id: Option<String>,
    /// All batches in quarantine
    #[arg(long)]
    all: bool,
}

/// Runs `spandrel quarantine`.
pub(in crate::cli) fn main(arguments: &QuarantineArguments) -> ExitCode {
    let QuarantineArguments {
        command,
        dir,
        connection,
    } = arguments;
    let done = match dir {
        Some(dir) => offline(dir, command, connection.output),
        None => {
            return finish(connection, async |client, output| {
                ask(client, command, output).await
            });
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.exit(),
    }
}

async fn ask(client: &Client, command: &QuarantineCommand, output: Output) -> Result<(), Failure> {
    match command {
        QuarantineCommand::Ls => {
            let json = client.get("/v1/quarantine").await?;
            let all: Vec<QuarantinedView> = understood(&json)?;
            print(output, &json, || list(&all, Paint::stdout()))
        }
        QuarantineCommand::Show { id } => {
            let path = format!("/v1/quarantine/{}", client::encoded(id));
            show(&client.get(&path).await?, output)
        }
        QuarantineCommand::Replay(which) => change(client, which, "replay", output).await,
        QuarantineCommand::Drop(which) => change(client, which, "drop", output).await,
    }
}

async fn change(client: &Client, which: &Which, word: &str, output: Output) -> Result<(), Failure> {
    let path = match &which.id {
        Some(id) => format!("/v1/quarantine/{}/{word}", client::encoded(id)),
        None => format!("/v1/quarantine/{word}"),
    };
    let json = client.post(&path).await?;
    let report: QuarantineReport = understood(&json)?;
    print(output, &json, || said(&report, word))?;
    match report.kept.len() {
        0 => Ok(()),
        kept => Err(Failure::from(ClientError::Refused {
            code: 409,
            error: format!("{kept} stay in quarantine"),
        })),
    }
}

fn said(report: &QuarantineReport, word: &str) -> String {
    let past = if word == "replay" {
        "replayed"
    } else {
        "dropped"
    };
    let done = report.done.iter().map(|id| format!("{id} {past}\n"));
    let kept = report.kept.iter();
    let kept = kept.map(|kept| format!("{} stays: {}\n", kept.id, plain(&kept.why)));
    let text: String = done.chain(kept).collect();
    if text.is_empty() {
        return "there is nothing in quarantine\n".to_owned();
    }
    text
}

/// Runs the command without a collector, on the files themselves.
fn offline(dir: &Path, command: &QuarantineCommand, output: Output) -> Result<(), Failure> {
    let failed = |source: io::Error| ClientError::File {
        path: dir.to_owned(),
        source,
    };
    let folders = Folder::all_in(dir).map_err(failed)?;
    let find = |id: &str| {
        let found = folders.iter().find(|folder| folder.has(id));
        found.ok_or_else(|| ClientError::Refused {
            code: 404,
            error: quarantines::none(id).to_string(),
        })
    };
    match command {
        QuarantineCommand::Ls => {
            let all = quarantines::list(folders.iter()).map_err(failed)?;
            print(output, &in_json(&all)?, || list(&all, Paint::stdout()))
        }
        QuarantineCommand::Show { id } => show(&find(id)?.text(id).map_err(failed)?, output),
        QuarantineCommand::Drop(which) => {
            let mut report = QuarantineReport::default();
            if let Some(id) = &which.id {
                find(id)?.remove(id).map_err(failed)?;
                report.done.push(id.clone());
            } else {
                for QuarantinedView { id, .. } in
                    quarantines::list(folders.iter()).map_err(failed)?
                {
                    find(&id)?.remove(&id).map_err(failed)?;
                    report.done.push(id);
                }
            }
            print(output, &in_json(&report)?, || said(&report, "drop"))
        }
        QuarantineCommand::Replay(_) => Err(Failure::from(ClientError::Usage(
            "a batch is replayed into a running collector; leave out --dir".to_owned(),
        ))),
    }
}

fn in_json(value: &impl serde::Serialize) -> Result<String, Failure> {
    let mut json = serde_json::to_string(value).map_err(ClientError::NotUnderstood)?;
    json.push('\n');
    Ok(json)
}

fn list(all: &[QuarantinedView], paint: Paint) -> String {
    if all.is_empty() {
        return "there is nothing in quarantine\n".to_owned();
    }
    let columns = [
        Column::Left("ID"),
        Column::Left("PIPELINE"),
        Column::Right("ITEMS"),
        Column::Right("BYTES"),
        Column::Right("ATTEMPTS"),
        Column::Left("ACCEPTED"),
        Column::Left("STATE"),
        Column::Left("REASON"),
    ];
    let rows: Vec<Vec<String>> = all
        .iter()
        .map(|one| {
            vec![
                one.id.clone(),
                plain(&one.pipeline),
                number(one.items),
                number(one.bytes),
                one.attempts.to_string(),
                one.accepted.clone(),
                if one.waiting { "waiting" } else { "shelved" }.to_owned(),
                short(&plain(&one.reason)),
            ]
        })
        .collect();
    table(&columns, &rows, paint)
}

fn show(line: &str, output: Output) -> Result<(), Failure> {
    if output == Output::Json {
        return print(output, line, String::new);
    }
    let (about, request) = match entry::shown(line) {
        Ok(shown) => shown,
        Err(error) => {
            to_stderr(&format!(
                "spandrel: this is no batch of ours: {}\n",
                in_one_line(&error)
            ));
            return print(output, line, || line.to_owned());
        }
    };
    let mut text = String::new();
    for (name, value) in [
        ("id", about.id),
        ("pipeline", about.pipeline),
        ("signal", about.signal),
        ("items", number(about.items)),
        ("bytes", number(about.bytes)),
        ("attempts", about.attempts.to_string()),
        ("accepted", about.accepted),
        ("quarantined", about.quarantined),
        ("reason", about.reason),
    ] {
        text.push_str(&format!("{name:<13}{}\n", plain(&value)));
    }
    text.push_str(&request);
    text.push('\n');
    print(output, line, || text)
}

/// Replaces control characters, so that a plugin's text cannot control the terminal.
fn plain(text: &str) -> String {
    let shown = |c: char| if c.is_control() { '\u{fffd}' } else { c };
    text.chars().map(shown).collect()
}

/// Shortens a reason to fit in a line. `show` has all of it.
fn short(reason: &str) -> String {
    const SHOWN: usize = 80;
    if reason.chars().count() <= SHOWN {
        return reason.to_owned();
    }
    let begin: String = reason.chars().take(SHOWN).collect();
    format!("{begin}...")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The list has a row for each batch, and control characters of a plugin never reach the
    /// terminal.
    #[test]
    fn the_list_is_plain() {
        let one = QuarantinedView {
            id: "20261122T175651.123Z-0000".to_owned(),
            pipeline: "traces".to_owned(),
            items: 1200,
            attempts: 3,
            reason: "\u{1b}[31mred".to_owned(),
            ..QuarantinedView::default()
        };
        let text = list(&[one], Paint::never());
        assert_eq!(text.lines().count(), 2);
        assert!(text.contains("1,200") && !text.contains('\u{1b}'), "{text}");
        assert_eq!(
            list(&[], Paint::never()),
            "there is nothing in quarantine\n"
        );
    }
}
