//! The subcommands. Each file holds one: its arguments, its work and its output.

mod bench;
mod cache;
mod chat;
mod inspect;
mod keys;
mod logits;
mod plan;
mod prices;
mod quantize;
mod run;
mod serve;
mod usage;

use std::io;
use std::process::ExitCode;

use clap::Subcommand;
use fathom_kernels::isa;

/// What the user asked for.
#[derive(Subcommand)]
pub(crate) enum Command {
    /// Talk with a model in the terminal
    Chat(chat::Args),
    /// Answer one prompt and exit
    Run(run::Args),
    /// Serve models over HTTP: the APIs and a chat page
    Serve(serve::Args),
    /// Write the logits at every position of a token sequence to a file
    Logits(logits::Args),
    /// Show what a checkpoint is, and whether it is whole
    Inspect(inspect::Args),
    /// Show what a model needs, and what this machine can do with it
    Plan(plan::Args),
    /// Measure a model's speed against the limits of this machine
    Bench(bench::Args),
    /// Make a smaller checkpoint, with a receipt of what that changes
    Quantize(quantize::Args),
    /// Show what the prefix cache keeps on disk, check it, make it smaller
    Cache(cache::Args),
    /// Make, list, limit, top up and revoke the API keys of a server
    Keys(keys::Args),
    /// Show what was used, by key, model or day, and what it cost
    Usage(usage::Args),
    /// Show what tokens cost, or check a file of prices
    Prices(prices::Args),
}

/// Prepares the commands that can be configured by a file.
pub(crate) fn configurable(program: clap::Command) -> clap::Command {
    serve::configurable(program)
}

/// Runs one subcommand. An error is printed once, to standard error, with everything that led to it.
pub(crate) fn run(command: Command) -> ExitCode {
    let outcome = isa::requested()
        .map_err(anyhow::Error::from)
        .and_then(|_| match command {
            Command::Chat(args) => chat::run(&args),
            Command::Run(args) => run::run(&args),
            Command::Serve(args) => serve::run(&args),
            Command::Logits(args) => logits::run(&args),
            Command::Inspect(args) => inspect::run(&args),
            Command::Plan(args) => plan::run(&args),
            Command::Bench(args) => bench::run(&args),
            Command::Quantize(args) => quantize::run(&args),
            Command::Cache(args) => cache::run(&args),
            Command::Keys(args) => keys::run(&args),
            Command::Usage(args) => usage::run(&args),
            Command::Prices(args) => prices::run(&args),
        });
    outcome.unwrap_or_else(|error| {
        // Whoever read our output has gone, as `| head` does: nothing is wrong.
        let gone = |cause: &(dyn std::error::Error + 'static)| {
            cause
                .downcast_ref::<io::Error>()
                .is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
        };
        if error.chain().any(gone) {
            return ExitCode::SUCCESS;
        }
        #[expect(clippy::print_stderr, reason = "this is where errors reach the user")]
        {
            eprintln!("error: {}", message(&error));
        }
        ExitCode::FAILURE
    })
}

/// An error and its causes in one line. Some errors quote their cause in their own words: it is not said again.
pub(crate) fn message(error: &anyhow::Error) -> String {
    error
        .chain()
        .fold(String::new(), |message, cause| match cause.to_string() {
            cause if message.contains(&cause) => message,
            cause if message.is_empty() => cause,
            cause => format!("{message}: {cause}"),
        })
}

#[cfg(test)]
mod tests {
    use anyhow::anyhow;

    #[test]
    fn a_quoted_cause_is_not_repeated() {
        let inner = anyhow!("no such file");
        let quoting = anyhow!("no such file")
            .context("cannot read x: no such file")
            .context("cannot open x");
        assert_eq!(
            super::message(&inner.context("cannot open x")),
            "cannot open x: no such file"
        );
        assert_eq!(
            super::message(&quoting),
            "cannot open x: cannot read x: no such file"
        );
    }
}
