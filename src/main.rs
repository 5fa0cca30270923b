//! The command line: arguments to a command to an exit code, nothing else.

use std::process::ExitCode;

use clap::Parser;
use longshore::cli::{Arguments, perform};

fn main() -> ExitCode {
    ExitCode::from(perform(Arguments::parse().command))
}
