//! The `corelane` program: parse what was asked, do it, say how it went by the exit code.

use std::process::ExitCode;

fn main() -> ExitCode {
    corelane::cli::main(std::env::args_os())
}
