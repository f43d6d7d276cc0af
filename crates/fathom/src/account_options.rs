//! Where accounts are kept: the option of the commands that use them.

use std::path::PathBuf;

use crate::user_dirs;

/// Which file of accounts.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct AccountOptions {
    /// File of keys, limits, balances and of what was used; by default accounts.db in ~/.local/share/fathom
    #[arg(long, value_name = "FILE", help_heading = "Accounts")]
    accounts: Option<PathBuf>,
}

impl AccountOptions {
    /// The file; `None` for somebody without a home who names none.
    pub(crate) fn path(&self) -> Option<PathBuf> {
        let named = self.accounts.clone();
        named.or_else(|| Some(user_dirs::data()?.join("accounts.db")))
    }

    /// Whether somebody named the file.
    pub(crate) fn is_named(&self) -> bool {
        self.accounts.is_some()
    }
}
