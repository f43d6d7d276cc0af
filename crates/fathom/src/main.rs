//! The `fathom` program: one subcommand per file in `commands`.

mod accounts_file;
mod cache_options;
mod chat;
mod commands;
mod config;
mod generation_config;
mod help;
mod interrupt;
mod limits;
mod model_source;
mod output;
mod sampling_options;
mod table;
mod terminal;
mod units;
mod user_dirs;

use clap::{CommandFactory as _, FromArgMatches as _, Parser};
use fathom_kernels::allocator::PageAllocator;

/// States are thousands of buffers of one size; these come in huge pages.
#[global_allocator]
static ALLOCATOR: PageAllocator = PageAllocator;

/// Run DeepSeek-V4 models on hardware people own.
#[derive(Parser)]
#[command(name = "fathom", version, about)]
struct Cli {
    #[command(subcommand)]
    command: commands::Command,
}

/// The program with all its commands, as they are parsed and explained.
fn program() -> clap::Command {
    help::grouped(commands::configurable(Cli::command()))
}

fn main() -> std::process::ExitCode {
    let matches = program().get_matches();
    match Cli::from_arg_matches(&matches) {
        Ok(cli) => commands::run(cli.command),
        Err(error) => error.exit(),
    }
}
