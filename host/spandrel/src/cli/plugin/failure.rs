//! The reasons why a command was not done, as the operator sees them.

use std::io;
use std::process::ExitCode;

use spandrel_admin::client::ClientError;
use spandrel_collector::error_chain::in_one_line;

use super::super::USAGE;
use super::to_stderr;

/// Exit code: the command was refused, or failed on the way.
const NOT_DONE: u8 = 1;

/// The reason why a command was not done.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    /// The collector did not do it, or was not asked.
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error("cannot write the answer")]
    Print(#[source] io::Error),
    #[error("cannot start the runtime")]
    Runtime(#[source] io::Error),
}

impl Failure {
    pub(super) fn text(&self) -> String {
        format!("spandrel: {}\n", in_one_line(self))
    }

    pub(super) fn exit(self) -> ExitCode {
        // The reader of the pipe closed it because it has seen enough.
        if matches!(&self, Self::Print(error) if error.kind() == io::ErrorKind::BrokenPipe) {
            return ExitCode::SUCCESS;
        }
        to_stderr(&self.text());
        match self {
            Self::Client(ClientError::Usage(_)) => ExitCode::from(USAGE),
            _ => ExitCode::from(NOT_DONE),
        }
    }
}
