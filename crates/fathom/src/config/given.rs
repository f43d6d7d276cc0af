//! What one place says of one argument.

use std::ffi::OsString;

use clap::{Arg, ArgAction, Command, Id, ValueHint};

use super::file::{ConfigFile, Entry, Value};
use super::name;
use super::origin::Origin;
use super::problems::Problems;

/// Values for an argument, and who gave them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Given {
    pub(crate) id: Id,
    pub(crate) values: Vec<OsString>,
    pub(crate) origin: Origin,
}

impl Given {
    /// The entries of `file` for the arguments of `command`. Keys it does not have are problems, with the key that was
    /// probably meant.
    pub(super) fn of_entries(
        command: &Command,
        not: &[&str],
        file: &ConfigFile,
        entries: &[Entry],
    ) -> (Vec<Self>, Problems) {
        let mut problems = Problems::default();
        let mut given = Vec::new();
        for entry in entries {
            match Self::of_entry(command, not, file, entry) {
                Ok(one) => given.push(one),
                Err(problem) => problems.0.push(format!(
                    "{}:{}: {}: {problem}",
                    file.path.display(),
                    entry.line,
                    entry.key
                )),
            }
        }
        (given, problems)
    }

    fn of_entry(command: &Command, not: &[&str], file: &ConfigFile, entry: &Entry) -> Result<Self, String> {
        let known = |arg: &&Arg| name::key(arg) == entry.key;
        let Some(arg) = name::settings(command, not).find(known) else {
            let meant = name::nearest(&entry.key, name::settings(command, not).map(name::key));
            return Err(match meant {
                Some(meant) => format!("unknown key; did you mean {meant}?"),
                None => "unknown key; fathom serve --print-config lists all there are".to_owned(),
            });
        };
        let values = match &entry.value {
            Value::One(value) => vec![value.clone()],
            Value::Many(values) if matches!(arg.get_action(), ArgAction::Append) => values.clone(),
            Value::Many(values) => {
                return Err(format!("expected one value, found an array of {}", values.len()));
            }
            Value::Tables(_) => return Err("expected a value, found tables".to_owned()),
            Value::Other(found) => return Err(format!("expected a value, found {found}")),
        };
        let names_files = matches!(
            arg.get_value_hint(),
            ValueHint::AnyPath | ValueHint::DirPath | ValueHint::FilePath
        );
        let value = |value: String| match value.as_str() {
            "" => OsString::new(),
            path if names_files => file.located(path).into(),
            _ => value.into(),
        };
        Ok(Self {
            id: arg.get_id().clone(),
            values: values.into_iter().map(value).collect(),
            origin: Origin::File {
                path: file.path.clone(),
                line: entry.line,
            },
        })
    }

    /// Asks the argument itself, alone, what it thinks of the values. Its answer is what would be said to somebody who typed
    /// them.
    pub(super) fn check(&self, arg: &Arg) -> Result<(), String> {
        let alone = Command::new("settings")
            .no_binary_name(true)
            .disable_help_flag(true)
            .disable_version_flag(true)
            .arg(arg.clone());
        let typed = self.values.iter().map(|value| {
            let mut typed = OsString::from(format!("--{}=", name::key(arg)));
            typed.push(value);
            typed
        });
        let Err(error) = alone.try_get_matches_from(typed) else {
            return Ok(());
        };
        let said = error.to_string();
        let message = said.strip_prefix("error: ").unwrap_or(&said);
        let lines: Vec<_> = message
            .lines()
            .map(str::trim)
            .take_while(|line| !line.is_empty())
            .collect();
        Err(lines.join(" "))
    }
}
