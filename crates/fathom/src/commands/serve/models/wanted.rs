//! Which models were asked for.

use clap::{Args as _, Command, FromArgMatches as _, Id};

use super::spec::ModelSpec;
use super::table::ModelTable;
use crate::config::{Configured, Given, Origin, Problems, Settings, with_switches};

/// A model that was asked for.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    pub(crate) table: ModelTable,
    /// The same, with where each value came from.
    pub(crate) settings: Settings,
}

impl Wanted {
    /// The other names it was given, if anything was said about them.
    pub(crate) fn aliases(&self) -> Option<&[String]> {
        let said = self.settings.origin(&"aliases".into()) != Origin::Default;
        said.then_some(self.table.aliases.as_slice())
    }
}

/// The models asked for with `--model`, else those of the file's `[[models]]`, else the built-in one. What cannot be understood
/// is left out and reported.
pub(crate) fn wanted(configured: &Configured, specs: &[ModelSpec]) -> (Vec<Wanted>, Problems) {
    let tables = configured.tables("models");
    let settings: Vec<_> = if !specs.is_empty() {
        let origin = configured.settings.origin(&"model".into());
        specs
            .iter()
            .map(|spec| configured.part_of(keys(), given(spec, &origin)))
            .collect()
    } else if !tables.is_empty() {
        tables
            .iter()
            .map(|table| configured.table(keys(), table))
            .collect()
    } else {
        let built_in = ModelSpec {
            name: None,
            dir: None,
        };
        vec![configured.part_of(keys(), given(&built_in, &Origin::Default))]
    };
    let mut problems = Problems::default();
    let mut models = Vec::new();
    for (i, settings) in settings.into_iter().enumerate() {
        let wanted = settings.and_then(|settings| {
            let table = ModelTable::from_arg_matches(settings.matches())
                .map_err(|error| Problems::one(error.to_string()))?;
            let wrong = match (&table.path, table.builtin) {
                (Some(_), true) => "has both a path and builtin = true; leave out one",
                (None, false) => "says neither path = \"DIR\" nor builtin = true",
                _ => return Ok(Wanted { table, settings }),
            };
            let line = tables.get(i).map_or(0, |table| table.line);
            let file = configured.file_name().unwrap_or_default();
            Err(Problems::one(format!(
                "{file}:{line}: this [[models]] table {wrong}"
            )))
        });
        match wanted {
            Ok(wanted) => models.push(wanted),
            Err(more) => problems.0.extend(more.0),
        }
    }
    (models, problems)
}

/// The keys of a table, as arguments.
pub(crate) fn keys() -> Command {
    with_switches(ModelTable::augment_args(Command::new("models")), &[])
}

fn given(spec: &ModelSpec, origin: &Origin) -> Vec<Given> {
    let one = |id: &'static str, value| Given {
        id: Id::from(id),
        values: vec![value],
        origin: origin.clone(),
    };
    let source = match &spec.dir {
        Some(dir) => one("path", dir.into()),
        None => one("builtin", "true".into()),
    };
    let name = spec.name.iter().map(|name| one("name", name.into()));
    name.chain([source]).collect()
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;
    use std::path::Path;

    use proptest::prelude::*;

    use super::*;
    use crate::commands::serve::{Args, RULES};
    use crate::config::{ConfigFile, Environment};

    fn models(typed: &[&str], file: &str) -> Result<(Vec<Wanted>, Problems), Problems> {
        let typed = ["fathom", "serve"].iter().chain(typed).map(OsString::from);
        let file = ConfigFile::parse(Path::new("/etc/fathom.toml"), file)?;
        let environment = Environment::default();
        let configured =
            Configured::resolve(crate::program(), "serve", RULES, typed, &environment, Some(file))?;
        let args = Args::from_arg_matches(configured.settings.matches()).unwrap();
        Ok(wanted(&configured, &args.model))
    }

    fn names(typed: &[&str], file: &str) -> Vec<Option<String>> {
        let (models, problems) = models(typed, file).unwrap();
        assert_eq!(problems, Problems::default());
        models.into_iter().map(|model| model.table.name).collect()
    }

    #[test]
    fn typed_models_replace_those_of_the_file() {
        let named = |name: &str| Some(name.to_owned());
        let file = "[[models]]\nname = 'a'\nbuiltin = true\n[[models]]\nname = 'b'\npath = 'x'\n";
        assert_eq!(names(&[], ""), [None]);
        assert_eq!(names(&[], file), [named("a"), named("b")]);
        assert_eq!(
            names(&["--model", "c=y", "--model", "z"], file),
            [named("c"), None]
        );
    }

    #[test]
    fn tables_say_more_than_options() {
        let file = "queue = 3\ncache-dir = 'c'\n[[models]]\nbuiltin = true\n[[models]]\npath = 'x'\nqueue = 4\naliases = []\n";
        let (models, problems) = models(&["--queue", "5"], file).unwrap();
        assert_eq!(problems, Problems::default());
        let waiting: Vec<_> = models
            .iter()
            .map(|model| model.table.per_model.scheduling().waiting_max)
            .collect();
        // What is typed is for all models, and a table for its own.
        assert_eq!(waiting, [5, 4]);
        assert_eq!(models[0].aliases(), None);
        assert_eq!(models[1].aliases(), Some([].as_slice()));
        assert_eq!(models[1].table.path.as_deref(), Some(Path::new("/etc/x")));
        let dir = models[1].table.per_model.cache.dir();
        assert_eq!(dir, Some(Path::new("/etc/c")));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn any_tables_are_understood_or_refused_with_their_line(
            keys in prop::collection::vec((
                "name|path|builtin|aliases|tier|numerics|cache-ram|profile|parallel|\\[\\[models\\]\\]\nname|[a-z-]{1,5}",
                "[0-9]{1,5}|true|false|'[^'\n]{0,6}'|\\['a', 'b'\\]|\\[\\]|'pro'|'fast'|'1G'",
            ), 0..8),
        ) {
            let lines: Vec<_> = keys.iter().map(|(key, value)| format!("{key} = {value}")).collect();
            let file = format!("[[models]]\n{}", lines.join("\n"));
            let problems = match models(&[], &file) {
                Ok((models, problems)) => {
                    prop_assert!(!models.is_empty() || !problems.0.is_empty());
                    problems
                }
                Err(problems) => problems,
            };
            for problem in &problems.0 {
                prop_assert!(problem.starts_with("/etc/fathom.toml:"), "{}", problem);
            }
        }
    }
}
