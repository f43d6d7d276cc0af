//! The variables that begin with `FATHOM_`.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};

use clap::{ArgAction, Command};

use super::given::Given;
use super::name::{self, PREFIX};
use super::origin::Origin;

/// Variables that are something else than an argument of a command.
const OTHERS: [&str; 3] = ["FATHOM_CONFIG", "FATHOM_ISA", "FATHOM_KEY"];

/// Our part of the environment. An empty variable counts as none, which is how service managers unset one.
#[derive(Clone, Debug, Default)]
pub(crate) struct Environment(BTreeMap<String, OsString>);

impl Environment {
    /// This process's.
    pub(crate) fn of_process() -> Self {
        let ours = |(name, value): (OsString, OsString)| Some((name.into_string().ok()?, value));
        Self::of(std::env::vars_os().filter_map(ours))
    }

    /// These variables.
    pub(crate) fn of(variables: impl IntoIterator<Item = (String, OsString)>) -> Self {
        let ours = |(name, value): &(String, OsString)| name.starts_with(PREFIX) && !value.is_empty();
        Self(variables.into_iter().filter(ours).collect())
    }

    pub(super) fn get(&self, name: &str) -> Option<&OsStr> {
        self.0.get(name).map(OsString::as_os_str)
    }

    /// What it says of the settings of `command`. Arguments that may be given several times take values between commas.
    pub(super) fn given(&self, command: &Command, not: &[&str]) -> Vec<Given> {
        let given = name::settings(command, not).filter_map(|arg| {
            let variable = name::variable(name::key(arg));
            let value = self.get(&variable)?;
            let values = match (arg.get_action(), value.to_str()) {
                (ArgAction::Append, Some(several)) => {
                    several.split(',').map(|value| value.trim().into()).collect()
                }
                _ => vec![value.to_owned()],
            };
            Some(Given {
                id: arg.get_id().clone(),
                values,
                origin: Origin::Environment(variable),
            })
        });
        given.collect()
    }

    /// Notes on variables that look like misspelt settings of `command`. They are not refused: they may be for something
    /// else.
    pub(super) fn misspelt(&self, command: &Command, not: &[&str]) -> Vec<String> {
        let keys: Vec<_> = name::settings(command, not).map(name::key).collect();
        let unknown = self.0.keys().filter(|name| {
            !OTHERS.contains(&name.as_str()) && !keys.iter().any(|key| name::variable(key) == **name)
        });
        let notes = unknown.filter_map(|name| {
            let meant = name::nearest(&name[PREFIX.len()..], keys.iter().copied())?;
            let meant = name::variable(meant);
            Some(format!(
                "{name} is in the environment and means nothing here; did you mean {meant}?"
            ))
        });
        notes.collect()
    }
}
