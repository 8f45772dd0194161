//! Starts a process that compiles one component, and waits for it: at most until its time is over,
//! and no longer than the caller waits.

use std::io;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use bytes::Bytes;
use rustix::process::Signal;
use spandrel_supply::{CompileLimits, Digest, text};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{Child, Command};
use tokio::time::{Instant, timeout_at};

use super::frame::{CompileReply, CompileRequest, REPLY_BYTES, ReplyKind};
use super::thread_count;
use crate::codegen::CODE_BYTES;

/// The bytes that are kept from the process's standard error: the last words of a panic or of the
/// allocator.
const WORDS_BYTES: usize = 4096;

/// The reason why there is no code.
#[derive(Debug, thiserror::Error)]
pub enum ChildError {
    /// The process did not start.
    #[error(
        "cannot start `{program}` to compile in: check that it is there, and the limit on processes"
    )]
    Start {
        /// The program.
        program: String,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// The process reached the limit on its memory.
    #[error(
        "compiling takes more than {} MiB of memory: build a smaller plugin, or raise \
         `service::plugins::compile::memory_mib`",
        limit_bytes >> 20
    )]
    Memory {
        /// The limit.
        limit_bytes: u64,
    },
    /// The process took longer than its time limit, and was killed.
    #[error(
        "compiling takes longer than {} ms: build a smaller plugin, or raise \
         `service::plugins::compile::time`",
        limit.as_millis()
    )]
    Time {
        /// The limit.
        limit: Duration,
    },
    /// The component does not compile.
    #[error("{0}")]
    Refused(String),
    /// The process ended without an answer that is understood: somebody killed it, or the compiler
    /// has a defect.
    #[error("the process that compiled ended early ({status}): {words}")]
    Ended {
        /// The exit status.
        status: ExitStatus,
        /// The words on its standard error.
        words: String,
    },
    /// The answer comes from another version of the program.
    #[error("`{program}` is another version than this process: restart it")]
    OtherVersion {
        /// The program.
        program: String,
    },
    /// The pipes of the process broke.
    #[error("lost the process that compiles")]
    Lost(#[source] io::Error),
}

/// The program to compile in.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Program<'a> {
    pub(crate) path: &'a std::path::Path,
    pub(crate) arguments: &'a [String],
    /// The engine that its code must fit.
    pub(crate) engine: Digest,
}

impl Program<'_> {
    fn name(self) -> String {
        self.path.display().to_string()
    }

    /// Returns the component's code. The process is killed at `due`, or when this future is
    /// dropped.
    pub(crate) async fn compile(
        self,
        component: &Bytes,
        limits: CompileLimits,
        due: Instant,
    ) -> Result<Vec<u8>, ChildError> {
        let mut child = self.start()?;
        let answered = timeout_at(due, self.exchange(&mut child, component, limits)).await;
        let Ok((answer, words)) = answered else {
            end(&mut child).await;
            return Err(ChildError::Time { limit: limits.time });
        };
        match answer {
            Ok(Some((reply, _))) if reply.engine != self.engine => {
                end(&mut child).await;
                Err(ChildError::OtherVersion {
                    program: self.name(),
                })
            }
            Ok(Some((reply, payload))) => {
                end(&mut child).await;
                match reply.kind {
                    ReplyKind::Code => Ok(payload),
                    ReplyKind::Refusal => {
                        let words = String::from_utf8_lossy(&payload).into_owned();
                        // The compiler may run out of memory before the system reports it.
                        Err(memory(&words, limits).unwrap_or_else(|| {
                            ChildError::Refused(text::printable(&words, WORDS_BYTES))
                        }))
                    }
                }
            }
            // The end of its output means that the process ended, or has nothing more to say.
            Ok(None) | Err(_) => Err(self.why(&mut child, &words, limits, due).await),
        }
    }

    fn start(self) -> Result<Child, ChildError> {
        let mut command = Command::new(self.path);
        command
            .args(self.arguments)
            .arg0("spandrel")
            .env_clear()
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        command.spawn().map_err(|source| ChildError::Start {
            program: self.name(),
            source,
        })
    }

    /// Sends the component. Returns the answer, if one comes, and the last words on standard error.
    async fn exchange(
        self,
        child: &mut Child,
        component: &Bytes,
        limits: CompileLimits,
    ) -> (io::Result<Option<(CompileReply, Vec<u8>)>>, String) {
        let (Some(mut input), Some(mut output), Some(errors)) =
            (child.stdin.take(), child.stdout.take(), child.stderr.take())
        else {
            return (Ok(None), String::new());
        };
        let threads = u64::try_from(thread_count(limits.background)).unwrap_or(1);
        let request = CompileRequest {
            memory_bytes: limits.memory_bytes,
            // The limit is on the time of all threads together. This process watches the wall
            // clock; the limit is for the case that nobody is left to watch it.
            cpu_seconds: limits
                .time
                .as_secs()
                .saturating_add(1)
                .saturating_mul(threads),
            threads,
            background: limits.background,
            length: u64::try_from(component.len()).unwrap_or(u64::MAX),
        };
        let send = async {
            // A process that ended before it read everything reports the reason in another way.
            let sent = input.write_all(&request.header()).await;
            if sent.is_ok() {
                input.write_all(component).await.unwrap_or_default();
            }
            input
        };
        let talk = async {
            // The input stays open until the process has answered: it would end itself at the end
            // of its input.
            let (_input, answer) = tokio::join!(send, answer(&mut output));
            answer
        };
        // The process writes nothing to standard error before it fails, so the end of that stream
        // is the end of the process.
        tokio::join!(talk, words(errors))
    }

    /// Returns the reason why a process ended without an answer.
    async fn why(
        self,
        child: &mut Child,
        words: &str,
        limits: CompileLimits,
        due: Instant,
    ) -> ChildError {
        let status = match timeout_at(due, child.wait()).await {
            Ok(Ok(status)) => status,
            Ok(Err(error)) => return ChildError::Lost(error),
            Err(_) => {
                end(child).await;
                return ChildError::Time { limit: limits.time };
            }
        };
        let signal = status.signal();
        if signal == Some(Signal::XCPU.as_raw()) {
            return ChildError::Time { limit: limits.time };
        }
        if let Some(error) = memory(words, limits) {
            return error;
        }
        let words = match words.trim() {
            "" => "it said nothing; was it killed for want of memory?".to_owned(),
            said => text::printable(said, WORDS_BYTES),
        };
        ChildError::Ended { status, words }
    }
}

/// Returns the error for memory if these words show that memory ran out: for the allocator, for the
/// system when it was asked for some, or for a thread with its stack.
fn memory(words: &str, limits: CompileLimits) -> Option<ChildError> {
    let said = ["memory allocation of", "os error 12", "os error 11"];
    let is_memory = said.iter().any(|said| words.contains(said));
    is_memory.then_some(ChildError::Memory {
        limit_bytes: limits.memory_bytes,
    })
}

/// Reads the answer; `None` if the output ends before the answer is complete.
async fn answer(
    output: &mut (impl AsyncRead + Unpin),
) -> io::Result<Option<(CompileReply, Vec<u8>)>> {
    let mut header = [0; REPLY_BYTES];
    match output.read_exact(&mut header).await {
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(error) => return Err(error),
    }
    let Some(reply) = CompileReply::parse(header).filter(|reply| reply.length <= CODE_BYTES) else {
        return Ok(None);
    };
    let mut payload = Vec::with_capacity(usize::try_from(reply.length).unwrap_or(0));
    output.take(reply.length).read_to_end(&mut payload).await?;
    let is_whole = u64::try_from(payload.len()).unwrap_or(u64::MAX) == reply.length;
    Ok(is_whole.then_some((reply, payload)))
}

/// Reads to the end, and returns the last words.
async fn words(mut errors: impl AsyncRead + Unpin) -> String {
    let mut last = Vec::new();
    let mut chunk = [0; 1024];
    while let Ok(count) = errors.read(&mut chunk).await
        && count > 0
    {
        last.extend(chunk.iter().take(count));
        let surplus = last.len().saturating_sub(WORDS_BYTES);
        last.drain(..surplus);
    }
    String::from_utf8_lossy(&last).into_owned()
}

/// Kills the process and reaps it.
async fn end(child: &mut Child) {
    // It may have ended by itself.
    child.kill().await.unwrap_or_default();
}

#[cfg(test)]
mod tests;
