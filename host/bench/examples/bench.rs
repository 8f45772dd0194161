//! The command line of `spandrel bench` alone, quick to build.

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[path = "../../spandrel/src/cli/bench.rs"]
mod bench;

#[derive(Debug, Parser)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Bench(bench::BenchArguments),
}

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let Command::Bench(arguments) = Arguments::parse().command;
    bench::main(&arguments)
}
