//! `corelane-perf`: make load, receive it, say what arrived and what it cost.

mod command;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Load generator and verifying receivers for log shippers.
#[derive(Parser)]
#[command(name = "corelane-perf", version, about, max_term_width = 100)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Write numbered log lines into a file, at a pace, with rotation.
    Gen(command::generate::Arguments),
    /// Write journal entries in the journal export format to standard output.
    Journal(command::journal::Arguments),
    /// Receive, verify and count.
    #[command(subcommand)]
    Sink(command::sink::Kind),
    /// Measure what shipping costs.
    #[command(subcommand)]
    Bench(command::bench::Kind),
    /// Show the CPU seconds and memory a process has used.
    Usage(command::usage::Arguments),
}

fn main() -> ExitCode {
    let outcome = match Arguments::parse().command {
        Command::Gen(arguments) => command::generate::run(&arguments),
        Command::Journal(arguments) => command::journal::run(&arguments),
        Command::Sink(kind) => command::sink::run(&kind),
        Command::Bench(kind) => command::bench::run(&kind),
        Command::Usage(arguments) => command::usage::run(&arguments),
    };
    match outcome {
        Ok(code) => code,
        Err(why) => {
            eprintln!("corelane-perf: {why}");
            ExitCode::FAILURE
        }
    }
}
