//! `fathom cache`: what the prefix cache keeps on disk, for those who want to look at it or need the room.

mod age;
mod ls;
mod models;
mod prefixes;
mod prune;
mod stat;
mod verify;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, ensure};
use clap::Subcommand;
use fathom_cache::disk::{Survey, survey};

use crate::user_dirs;

/// Arguments of `fathom cache`.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// List the prefixes, the one used last first
    Ls(ls::Args),
    /// Show what the cache takes, by model
    Stat(stat::Args),
    /// Read everything and check it
    Verify(verify::Args),
    /// Drop prefixes and give their room back
    Prune(prune::Args),
}

/// Runs the command.
pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    match &args.action {
        Action::Ls(args) => ls::run(args),
        Action::Stat(args) => stat::run(args),
        Action::Verify(args) => verify::run(args),
        Action::Prune(args) => prune::run(args),
    }
}

/// Which cache.
#[derive(clap::Args)]
struct Place {
    /// The cache's directory; fathom/prefixes among this user's caches by default
    #[arg(long = "cache-dir", value_name = "DIR")]
    dir: Option<PathBuf>,
}

impl Place {
    fn dir(&self) -> anyhow::Result<PathBuf> {
        let dir = match &self.dir {
            Some(dir) => dir.clone(),
            None => user_dirs::cache()
                .context("you have no directory for caches; name one with --cache-dir")?
                .join("prefixes"),
        };
        ensure!(
            dir.is_dir(),
            "there is no cache in {}: expected a directory. Name the one given to fathom serve --cache-dir",
            dir.display()
        );
        Ok(dir)
    }

    fn survey(&self) -> anyhow::Result<(PathBuf, Survey)> {
        let dir = self.dir()?;
        let survey = survey(&dir)?;
        Ok((dir, survey))
    }
}

/// Lower-case hexadecimal.
fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes
        .iter()
        .fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
            // Writing to a string cannot fail.
            let _ = write!(text, "{byte:02x}");
            text
        })
}

/// The beginning of a key or identity, enough to tell it from others.
fn short(bytes: &[u8; 32]) -> String {
    hex(&bytes[..6])
}
