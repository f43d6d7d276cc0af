//! The subcommands. Each file holds one: its arguments, its work and its output.

use std::process::ExitCode;

use clap::Subcommand;

/// What the user asked for.
#[derive(Subcommand)]
pub(crate) enum Command {}

/// Runs one subcommand; an error is printed once, to standard error, with everything that led to it.
pub(crate) fn run(command: Command) -> ExitCode {
    match command {}
}
