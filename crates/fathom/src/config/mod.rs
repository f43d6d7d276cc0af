//! Configuration: flags, environment and a file, each setting defined once, as an argument of its command.
//!
//! A setting has one name in three spellings: `--cache-ram 16G`, `FATHOM_CACHE_RAM=16G`, `cache-ram = "16G"`. What a file or a
//! variable says becomes the default of the argument, so it goes through the argument's own parser, and what is typed wins, then
//! the environment, then the file, then what is built in. An error names the line or the variable and says what the argument
//! says. A new argument needs nothing of this module.
//!
//! Because a value may come from any of the three, arguments of configurable commands do without the library's `requires`,
//! `conflicts_with` and `env`; which of them go together is for the command to check.
//!
//! Arrays of tables (`[[models]]`) are for the command: each is read like a small command of its own, whose arguments are the
//! keys ([`Configured::table`]).

mod environment;
mod file;
mod find;
mod given;
mod name;
mod origin;
mod print;
mod problems;
mod settings;

use std::ffi::OsString;

use clap::Command;

pub(crate) use environment::Environment;
pub(crate) use file::{ConfigFile, Table, Value};
pub(crate) use find::ConfigOptions;
pub(crate) use given::Given;
pub(crate) use origin::Origin;
pub(crate) use problems::Problems;
pub(crate) use settings::{Settings, with_switches};

use name::nearest;

/// A key that is an array of tables, and makes the command whose arguments are the tables' keys.
pub(crate) type TablesOf = (&'static str, fn() -> Command);

/// What of a command is not a setting.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rules {
    /// Flags that ask for something to be done once.
    pub(crate) not_settings: &'static [&'static str],
    /// Keys of the file that are arrays of tables.
    pub(crate) tables: &'static [TablesOf],
    /// Arguments that the file says with tables: flag, and what to write instead.
    pub(crate) said_by_tables: &'static [(&'static str, &'static str)],
}

/// A command with its settings, and the tables of its file.
#[derive(Clone, Debug)]
pub(crate) struct Configured {
    pub(crate) settings: Settings,
    pub(crate) file: Option<ConfigFile>,
    /// Things worth a note.
    pub(crate) notes: Vec<String>,
    rules: Rules,
}

impl Configured {
    /// Settles the settings of the subcommand `name` of `program` from what was typed, the environment and the file.
    pub(crate) fn resolve(
        program: Command,
        name: &str,
        rules: Rules,
        typed: impl IntoIterator<Item = OsString>,
        environment: &Environment,
        file: Option<ConfigFile>,
    ) -> Result<Self, Problems> {
        let command = program.find_subcommand(name).cloned().unwrap_or_default();
        let not = rules.not_settings;
        let notes = environment.misspelt(&command, not);
        let (mut given, mut problems) = match &file {
            Some(file) => rules.given(&command, file),
            None => Default::default(),
        };
        given.extend(environment.given(&command, not));
        let settings = Settings::resolve(command, not, given, |command| {
            let program = program.mut_subcommand(name, |_| command);
            let mut matches = program.try_get_matches_from(typed)?;
            let subcommand = matches.remove_subcommand();
            Ok(subcommand.map(|(_, matches)| matches).unwrap_or_default())
        });
        let settings = settings.map_err(|more| problems.0.extend(more.0));
        let Some(settings) = settings.ok().filter(|_| problems.0.is_empty()) else {
            // Tables are for later, but who mends the file wants to know of them now.
            problems
                .0
                .extend(file.iter().flat_map(|file| rules.wrong_in_tables(file)));
            return Err(problems);
        };
        Ok(Self {
            settings,
            file,
            notes,
            rules,
        })
    }

    /// The tables under `key`, in the order of the file.
    pub(crate) fn tables(&self, key: &str) -> &[Table] {
        self.file.as_ref().map_or(&[], |file| file.tables(key))
    }

    /// Reads one table as `command`, whose arguments are its keys. What the table does not say is as the settings of the same
    /// name say.
    pub(crate) fn table(&self, command: Command, table: &Table) -> Result<Settings, Problems> {
        let (own, mut problems) = match &self.file {
            Some(file) => Given::of_entries(&command, &[], file, &table.entries),
            None => Default::default(),
        };
        let mut given = self.settings.shared_with(&command);
        given.extend(own);
        match part(command, given) {
            Ok(settings) => problems.into_result().map(|()| settings),
            Err(more) => {
                problems.0.extend(more.0);
                Err(problems)
            }
        }
    }

    /// Settings of `command` that were said some other way than in a table, completed by the settings of the same name.
    pub(crate) fn part_of(&self, command: Command, said: Vec<Given>) -> Result<Settings, Problems> {
        let mut given = self.settings.shared_with(&command);
        given.extend(said);
        part(command, given)
    }

    /// Where the file is, for people.
    pub(crate) fn file_name(&self) -> Option<String> {
        self.file.as_ref().map(|file| file.path.display().to_string())
    }

    /// The settings of the command `name` as a file, with `tables` at its end.
    pub(crate) fn printed(&self, name: &str, tables: &[String]) -> String {
        let mut text = format!(
            "# fathom {name}: the settings in force, as a file for --config.\n\
             # What is typed wins, then the environment, then the file, then the default. Lines that begin with # say nothing.\n\
             # Read: {}\n",
            self.file_name().unwrap_or_else(|| "no file".to_owned())
        );
        text += &print::sections(&self.settings, &self.excluded());
        for table in tables {
            text.push('\n');
            text += table;
        }
        text
    }

    fn excluded(&self) -> Vec<&'static str> {
        let said_by_tables = self.rules.said_by_tables.iter().map(|(flag, _)| *flag);
        self.rules
            .not_settings
            .iter()
            .copied()
            .chain(said_by_tables)
            .collect()
    }
}

impl Rules {
    /// What `file` says of `command`, tables left out.
    fn given(&self, command: &Command, file: &ConfigFile) -> (Vec<Given>, Problems) {
        let mut wrong = Problems::default();
        let at = |line: usize, problem: String| format!("{}:{line}: {problem}", file.path.display());
        let mut entries = file.table.entries.clone();
        entries.retain(|entry| {
            let key = entry.key.as_str();
            if self.tables.iter().any(|(name, _)| *name == key) {
                if !matches!(entry.value, Value::Tables(_)) {
                    let problem = format!("{key}: expected tables; write [[{key}]] above each");
                    wrong.0.push(at(entry.line, problem));
                }
                return false;
            }
            if let Some((_, instead)) = self.said_by_tables.iter().find(|(flag, _)| *flag == key) {
                wrong.0.push(at(entry.line, format!("{key}: {instead}")));
                return false;
            }
            let is_table = matches!(entry.value, Value::Tables(_) | Value::Other("a table"));
            if is_table && let Some(meant) = nearest(key, self.tables.iter().map(|(name, _)| *name)) {
                let problem = format!("{key}: unknown table; did you mean [[{meant}]]?");
                wrong.0.push(at(entry.line, problem));
                return false;
            }
            true
        });
        let (given, more) = Given::of_entries(command, self.not_settings, file, &entries);
        wrong.0.extend(more.0);
        (given, wrong)
    }

    /// What is wrong inside the tables of `file`.
    fn wrong_in_tables(&self, file: &ConfigFile) -> Vec<String> {
        let tables = self.tables.iter().flat_map(|(name, command)| {
            let command = command();
            file.tables(name)
                .iter()
                .flat_map(|table| {
                    let (given, problems) = Given::of_entries(&command, &[], file, &table.entries);
                    let more = part(command.clone(), given).err().unwrap_or_default();
                    problems.0.into_iter().chain(more.0)
                })
                .collect::<Vec<_>>()
        });
        tables.collect()
    }
}

/// What the environment and the file say of arguments that another command has in common with a configurable one; other keys of the
/// file are none of its business.
pub(crate) fn elsewhere<A: clap::Args>(
    environment: &Environment,
    file: Option<&ConfigFile>,
) -> Result<A, Problems> {
    let command = with_switches(A::augment_args(Command::new("settings")), &[]);
    let mut given = Vec::new();
    if let Some(file) = file {
        let mut entries = file.table.entries.clone();
        entries.retain(|entry| name::settings(&command, &[]).any(|arg| name::key(arg) == entry.key));
        let (said, problems) = Given::of_entries(&command, &[], file, &entries);
        problems.into_result()?;
        given = said;
    }
    given.extend(environment.given(&command, &[]));
    let settings = part(command, given)?;
    A::from_arg_matches(settings.matches()).map_err(|error| Problems::one(error.to_string()))
}

/// Settings of a command for which nothing can be typed.
fn part(command: Command, given: Vec<Given>) -> Result<Settings, Problems> {
    Settings::resolve(command, &[], given, |command| {
        command.no_binary_name(true).try_get_matches_from([""; 0])
    })
}

#[cfg(test)]
mod tests;
