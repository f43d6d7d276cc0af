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
