//! `fathom chat --sessions`.

use std::path::Path;

use anyhow::Context as _;

use super::home;
use crate::chat::saved;
use crate::table::{Align, Table};
use crate::units::{bytes, count};

/// A table of the sessions in a directory, the one saved last first.
pub(crate) fn list(sessions: &Path) -> anyhow::Result<String> {
    let found = home::all(sessions).with_context(|| format!("cannot read {}", sessions.display()))?;
    if found.is_empty() {
        return Ok(format!(
            "no sessions in {}; fathom chat --session NAME begins one\n",
            sessions.display()
        ));
    }
    let mut table = Table::new(&[
        ("session", Align::Left),
        ("messages", Align::Right),
        ("size", Align::Right),
        ("model", Align::Left),
    ]);
    for (name, conversation, size) in found {
        let (messages, model) = match saved::about(&conversation) {
            Ok((messages, model)) => (count(messages as u64), model),
            Err(_) => ("?".to_owned(), "cannot be read".to_owned()),
        };
        table.row([name.to_string(), messages, bytes(size), model]);
    }
    Ok(format!("{table}\nin {}\n", sessions.display()))
}
