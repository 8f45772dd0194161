//! The process that compiles: it limits itself, compiles one component, and ends.
//!
//! It has no environment, and no files except its pipes. While it compiles, it can open no other
//! file and no socket, and can start no thread and no process unless it runs as root; the system
//! kills it at its limits. That keeps a compiler that runs wild from harming others. It is not a
//! sandbox: in everything else it may do what its user may do.

use std::fs;
use std::io::{self, Read as _, Write};
use std::process::ExitCode;

use rustix::process::{Resource, Rlimit, setrlimit};
use spandrel_supply::artifact::MAX_BYTES;

use super::frame::{CompileReply, CompileRequest};
use super::lower_priority;
use crate::codegen::{compatibility, compiling_engine};

/// Open files before it compiles: the three pipes, and those that the runtime opens for a moment.
const FILES: u64 = 16;
/// Open files while it compiles: the pipes.
const PIPES: u64 = 3;
/// The exit code of a process that could not begin: bad input, or no memory for its threads.
const EXIT_NOT_BEGUN: u8 = 1;

/// Compiles the component on standard input, and writes the code to standard output. The program
/// calls it when it is started as [`super::CompilerLocation::Child`] says; nobody else has a use
/// for it.
#[must_use]
pub fn main() -> ExitCode {
    match serve(io::stdin(), &mut io::stdout().lock()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nobody reads it if the pipe is gone.
            writeln!(io::stderr(), "{error}").unwrap_or_default();
            ExitCode::from(EXIT_NOT_BEGUN)
        }
    }
}

fn serve(mut input: io::Stdin, output: &mut impl Write) -> io::Result<()> {
    let request = CompileRequest::read(&mut input)?;
    if request.length > MAX_BYTES {
        return Err(io::Error::other("the component is too large"));
    }
    confine(&request)?;
    let mut component = Vec::new();
    input
        .by_ref()
        .take(request.length)
        .read_to_end(&mut component)?;
    if u64::try_from(component.len()).unwrap_or(u64::MAX) != request.length {
        return Err(io::Error::other("the component came cut off"));
    }
    end_with_the_one_who_asked(input)?;
    let engine = compiling_engine().map_err(io::Error::other)?;
    let threads = rayon::ThreadPoolBuilder::new()
        .num_threads(usize::try_from(request.threads).unwrap_or(1).max(1))
        .build()
        .map_err(io::Error::other)?;
    // From here on only memory and time are needed.
    at_most(Resource::Nofile, PIPES)?;
    at_most(Resource::Nproc, 0)?;
    let compiled = threads.install(|| engine.precompile_component(&component));
    let compatibility = compatibility(&engine);
    match compiled {
        Ok(code) => CompileReply::write(output, compatibility, Ok(&code)),
        Err(error) => CompileReply::write(output, compatibility, Err(&causes(&error))),
    }
}

/// Joins an error and its causes in one line.
fn causes(error: &wasmtime::Error) -> String {
    let words: Vec<String> = error.chain().map(ToString::to_string).collect();
    words.join(": ")
}

fn at_most(resource: Resource, most: u64) -> io::Result<()> {
    let limit = Rlimit {
        current: Some(most),
        maximum: Some(most),
    };
    setrlimit(resource, limit).map_err(io::Error::from)
}

/// Sets limits: from here on, the system kills this process if it takes more than it may.
fn confine(request: &CompileRequest) -> io::Result<()> {
    if request.background {
        lower_priority();
    }
    // When the machine or the container is out of memory, this process goes before the collector.
    // Without /proc, only the limit below applies.
    fs::write("/proc/self/oom_score_adj", "1000").unwrap_or_default();
    at_most(Resource::As, request.memory_bytes)?;
    at_most(Resource::Core, 0)?;
    at_most(Resource::Fsize, 0)?;
    at_most(Resource::Nofile, FILES)?;
    // The hard limit is one second later, so that the first signal tells the reason.
    let cpu = Rlimit {
        current: Some(request.cpu_seconds),
        maximum: Some(request.cpu_seconds.saturating_add(1)),
    };
    setrlimit(Resource::Cpu, cpu).map_err(io::Error::from)
}

/// Ends this process when nobody waits for the code any longer: the caller keeps the other end of
/// the input open while it waits. Without this thread, a collector that was killed would leave a
/// compilation running.
fn end_with_the_one_who_asked(mut input: io::Stdin) -> io::Result<()> {
    let watch = move || {
        let mut more = [0; 1];
        // Nothing more is sent: whatever this returns, nobody waits any longer.
        let _ended = input.read(&mut more);
        #[expect(clippy::exit, reason = "the compiler cannot be asked to stop")]
        std::process::exit(i32::from(EXIT_NOT_BEGUN));
    };
    let thread = std::thread::Builder::new().name("parent-watch".to_owned());
    thread.stack_size(64 << 10).spawn(watch).map(drop)
}
