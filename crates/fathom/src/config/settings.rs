//! All places together: which value holds.

use std::collections::BTreeMap;
use std::ffi::OsString;

use clap::builder::BoolishValueParser;
use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Command, Id};

use super::given::Given;
use super::name;
use super::origin::Origin;
use super::problems::Problems;

/// The arguments of a command with the values in force.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    command: Command,
    matches: ArgMatches,
    origins: BTreeMap<Id, Origin>,
}

impl Settings {
    /// Parses what was typed, completed by `given`; later ones win over earlier ones. All values are checked, also those
    /// that another place overrules. `not` are flags that are not settings.
    pub(super) fn resolve(
        command: Command,
        not: &[&str],
        given: Vec<Given>,
        typed: impl FnOnce(Command) -> Result<ArgMatches, clap::Error>,
    ) -> Result<Self, Problems> {
        let mut problems = Problems::default();
        let mut command = command;
        let mut origins = BTreeMap::new();
        for one in given {
            let Some(arg) = name::settings(&command, not).find(|arg| *arg.get_id() == one.id) else {
                continue;
            };
            if let Err(problem) = one.check(arg) {
                let key = match &one.origin {
                    Origin::File { .. } => format!("{}: {}", one.origin, name::key(arg)),
                    origin => origin.to_string(),
                };
                problems.0.push(format!("{key}: {problem}"));
                continue;
            }
            // All of them, for changing one alone would move it to the end.
            command = command.mut_args(|arg| {
                if *arg.get_id() == one.id {
                    arg.default_values(one.values.clone())
                } else {
                    arg
                }
            });
            origins.insert(one.id, one.origin);
        }
        problems.into_result()?;
        let matches = typed(command.clone()).map_err(|error| Problems::one(error.to_string()))?;
        Ok(Self {
            command,
            matches,
            origins,
        })
    }

    /// The values, for the type that they are arguments of.
    pub(crate) fn matches(&self) -> &ArgMatches {
        &self.matches
    }

    /// The arguments that are settings.
    pub(super) fn arguments<'a>(&'a self, not: &'a [&'a str]) -> impl Iterator<Item = &'a Arg> {
        name::settings(&self.command, not)
    }

    /// The values in force, as they would be typed; none for what is no argument here, or has no value and no default.
    pub(crate) fn values(&self, id: &Id) -> Vec<OsString> {
        let raw = self.matches.try_get_raw(id.as_str()).ok().flatten();
        raw.into_iter().flatten().map(OsString::from).collect()
    }

    /// Who decided.
    pub(crate) fn origin(&self, id: &Id) -> Origin {
        let known = self.command.get_arguments().any(|arg| arg.get_id() == id);
        if known && self.matches.value_source(id.as_str()) == Some(ValueSource::CommandLine) {
            return Origin::CommandLine;
        }
        self.origins.get(id).cloned().unwrap_or(Origin::Default)
    }

    /// The argument of this key; its name inside the program may be another.
    pub(super) fn argument(&self, key: &str) -> Option<&Arg> {
        self.command.get_arguments().find(|arg| name::key(arg) == key)
    }

    /// What these settings say of the keys that `command` has too.
    pub(crate) fn shared_with(&self, command: &Command) -> Vec<Given> {
        let shared = command.get_arguments().filter_map(|arg| {
            let ours = self.argument(name::key(arg))?.get_id();
            let values = self.values(ours);
            (!values.is_empty()).then(|| Given {
                id: arg.get_id().clone(),
                origin: self.origin(ours),
                values,
            })
        });
        shared.collect()
    }
}

/// Makes switches settings like all others: `--strict` alone still means yes, `--strict=false` takes back what a file or a
/// variable says.
pub(crate) fn with_switches(command: Command, not: &[&str]) -> Command {
    command.mut_args(|arg| {
        let is_setting = arg.get_long().is_some_and(|long| !not.contains(&long));
        if !is_setting || !matches!(arg.get_action(), ArgAction::SetTrue) {
            return arg;
        }
        arg.action(ArgAction::Set)
            .num_args(0..=1)
            .require_equals(true)
            .default_missing_value("true")
            .default_value("false")
            .hide_default_value(true)
            .hide_possible_values(true)
            .value_name("BOOL")
            .value_parser(BoolishValueParser::new())
    })
}
