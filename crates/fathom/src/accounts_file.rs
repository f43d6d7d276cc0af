//! Where the keys and the ledger are: the option of the commands that use them.

use std::path::PathBuf;

use anyhow::Context as _;
use fathom_accounts::{Accounts, Options};

use crate::config::{self, ConfigOptions, Environment};
use crate::user_dirs;

/// Which accounts.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct AccountsFile {
    /// The file of keys, balances and usage; fathom/accounts.sqlite among this user's data by default
    #[arg(long = "accounts", value_name = "FILE", help_heading = "Accounts")]
    path: Option<PathBuf>,
}

impl AccountsFile {
    /// The file, which need not be there; `None` for a user without a home who names none.
    pub(crate) fn path(&self) -> Option<PathBuf> {
        let named = self.path.clone();
        named.or_else(|| Some(user_dirs::data()?.join("accounts.sqlite")))
    }

    /// Whether somebody named the file.
    pub(crate) fn is_named(&self) -> bool {
        self.path.is_some()
    }

    /// Opens a file that is there, for a command: the one that a server uses to which nothing else is said.
    pub(crate) fn open(&self) -> anyhow::Result<Accounts> {
        let options = Options {
            create: false,
            ..Options::default()
        };
        Ok(Accounts::open(&self.of_the_server()?.path_or_error()?, options)?)
    }

    /// The same, or makes it; for the default place its directory, too.
    pub(crate) fn open_or_create(&self, options: Options) -> anyhow::Result<Accounts> {
        let file = self.of_the_server()?;
        let path = file.path_or_error()?;
        if !file.is_named()
            && let Some(dir) = path.parent()
        {
            std::fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
        }
        Ok(Accounts::open(&path, options)?)
    }

    /// Where nothing was typed, what the environment and the server's file say.
    fn of_the_server(&self) -> anyhow::Result<Self> {
        if self.is_named() {
            return Ok(self.clone());
        }
        let environment = Environment::of_process();
        let file = ConfigOptions::default().read(&environment)?;
        Ok(config::elsewhere(&environment, file.as_ref())?)
    }

    fn path_or_error(&self) -> anyhow::Result<PathBuf> {
        self.path()
            .context("you have no directory for data; name a file with --accounts")
    }
}
