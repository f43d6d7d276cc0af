//! Which file is read: `--config`, else `FATHOM_CONFIG`, else `fathom.toml` in the user's configuration directory if it
//! is there.

use std::path::{Path, PathBuf};

use super::environment::Environment;
use super::file::ConfigFile;
use super::problems::Problems;
use crate::user_dirs;

/// Options of commands that can be configured by a file.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct ConfigOptions {
    /// Settings from this TOML file; without it, from $FATHOM_CONFIG, else from fathom.toml in ~/.config/fathom if that is there
    #[arg(long, value_name = "FILE", help_heading = "Configuration")]
    config: Option<PathBuf>,

    /// Print the settings in force as such a file, with where each came from, and exit
    #[arg(long, help_heading = "Configuration")]
    pub(crate) print_config: bool,
}

impl ConfigOptions {
    /// Reads the file, if there is one.
    pub(crate) fn read(&self, environment: &Environment) -> Result<Option<ConfigFile>, Problems> {
        let named = self.config.clone();
        if let Some(path) = named.or_else(|| environment.get("FATHOM_CONFIG").map(PathBuf::from)) {
            return ConfigFile::read(&path).map(Some);
        }
        match user_dirs::config().map(|dir| dir.join("fathom.toml")) {
            Some(path) if exists(&path) => ConfigFile::read(&path).map(Some),
            _ => Ok(None),
        }
    }
}

/// What is there but cannot be looked at is read, and says why it cannot be.
fn exists(path: &Path) -> bool {
    path.try_exists().unwrap_or(true)
}
