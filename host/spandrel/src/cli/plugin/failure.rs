//! The reasons why a command was not done, as the operator sees them.

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use serde::de::DeserializeOwned;

use super::super::USAGE;
use super::to_stderr;

/// Exit code: the command was refused, or failed on the way.
const NOT_DONE: u8 = 1;

#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    /// An environment variable or a name is wrong. No request was sent.
    #[error("{0}")]
    Usage(String),
    #[error("no collector is listening on {0}: is it running, with the `admin` extension?")]
    NobodyListens(String),
    #[error("cannot connect to {endpoint}")]
    Connect {
        endpoint: String,
        #[source]
        source: io::Error,
    },
    /// The collector refused, in its own words.
    #[error("{error}")]
    Refused { code: u16, error: String },
    #[error(
        "the connection to the collector broke; `spandrel plugin history` tells what became of it"
    )]
    Broken(#[source] hyper::Error),
    #[error("no answer within {0} s; `spandrel plugin history` tells what became of it")]
    Late(u64),
    #[error("the answer is not one of this version's admin API")]
    NotUnderstood(#[source] serde_json::Error),
    #[error("cannot read {}", path.display())]
    File {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("cannot write the answer")]
    Print(#[source] io::Error),
    #[error("cannot start the runtime")]
    Runtime(#[source] io::Error),
}

impl Failure {
    /// Adds a hint after a swap that named a path: on the collector's machine that path may be
    /// another.
    pub(super) fn after_path(self, readable_here: bool) -> Self {
        match self {
            Self::Refused { code: 422, error } if readable_here && error.contains("read") => {
                Self::Refused {
                    code: 422,
                    error: format!("{error}; add --upload to send the file itself"),
                }
            }
            other => other,
        }
    }

    pub(super) fn text(&self) -> String {
        let mut text = format!("spandrel: {self}");
        let mut cause = std::error::Error::source(self);
        while let Some(error) = cause {
            text.push_str(&format!(": {error}"));
            cause = error.source();
        }
        text.push('\n');
        text
    }

    pub(super) fn exit(self) -> ExitCode {
        // The reader of the pipe closed it because it has seen enough.
        if matches!(&self, Self::Print(error) if error.kind() == io::ErrorKind::BrokenPipe) {
            return ExitCode::SUCCESS;
        }
        to_stderr(&self.text());
        match self {
            Self::Usage(_) => ExitCode::from(USAGE),
            _ => ExitCode::from(NOT_DONE),
        }
    }
}

pub(super) fn understood<T: DeserializeOwned>(json: &str) -> Result<T, Failure> {
    serde_json::from_str(json).map_err(Failure::NotUnderstood)
}
