//! Models that are opened and have their names and their memory, but are not loaded.

use std::collections::BTreeMap;
use std::path::PathBuf;

use fathom_checkpoint::budget::{RowBytes, kv_bytes_per_token, workspace_bytes};
use fathom_checkpoint::{ProfileName, Size};
use fathom_engine::{EngineOptions, memory};
use fathom_model::Numerics;
use fathom_serve::{Alias, Tier};

use super::budget::{self, Need};
use super::name::{self, Naming};
use super::wanted::Wanted;
use crate::commands::message;
use crate::config::Problems;
use crate::model_source::OpenedModel;

/// A model that could be loaded now.
pub(crate) struct Planned {
    pub(crate) opened: OpenedModel,
    pub(crate) wanted: Wanted,
    pub(crate) name: String,
    pub(crate) tier: Tier,
    pub(crate) aliases: Vec<Alias>,
    pub(crate) need: Need,
    /// Bytes for states.
    pub(crate) states_bytes: u64,
    /// Where states are kept on disk.
    pub(crate) cache_dir: Option<PathBuf>,
}

impl Planned {
    /// The tier of the prices by which its use is counted.
    pub(crate) fn price(&self) -> &str {
        self.wanted.table.price.as_deref().unwrap_or(self.tier.name())
    }

    /// What its engine is told.
    pub(crate) fn engine(&self, ignore_memory: bool) -> EngineOptions {
        let per_model = &self.wanted.table.per_model;
        let mut cache = per_model.cache.settings(&self.name);
        cache.ram_bytes = Some(self.states_bytes);
        if let (Some(disk), Some(dir)) = (&mut cache.disk, &self.cache_dir) {
            disk.dir.clone_from(dir);
        }
        EngineOptions {
            ignore_memory,
            cache,
            scheduling: per_model.scheduling(),
            ..per_model.running.engine()
        }
    }
}

/// How rows of states are stored under these numerics.
pub(crate) fn rows(opened: &OpenedModel) -> RowBytes {
    let config = opened.checkpoint.config();
    match opened.numerics {
        Numerics::Exact => RowBytes::float32(config),
        Numerics::Reference | Numerics::Fast => RowBytes::packed(config),
    }
}

/// Opens the models and shares out names, memory and directories. What is wrong is reported, all of it; models that cannot be
/// opened are left out.
pub(crate) fn plan(wanted: Vec<Wanted>, ignore_memory: bool) -> (Vec<Planned>, Problems) {
    let mut problems = Problems::default();
    let mut models = Vec::new();
    for wanted in wanted {
        let table = &wanted.table;
        match table.per_model.running.open(table.path.as_deref()) {
            Ok(opened) => models.push(planned(opened, wanted)),
            Err(error) => problems.0.push(message(&error)),
        }
    }
    let namings: Vec<_> = models.iter().map(naming).collect();
    match name::aliases(&namings) {
        Ok(aliases) => {
            for (model, aliases) in models.iter_mut().zip(aliases) {
                model.aliases = aliases;
            }
        }
        Err(more) => problems.0.extend(more),
    }
    let needs: Vec<_> = models.iter().map(|model| model.need.clone()).collect();
    let available = memory::available();
    if !ignore_memory && let Err(problem) = budget::check(&needs, available) {
        problems.0.push(problem);
    }
    for (model, bytes) in models.iter_mut().zip(budget::states_bytes(&needs, available)) {
        model.states_bytes = bytes;
    }
    problems.0.extend(part_directories(&mut models));
    (models, problems)
}

fn planned(opened: OpenedModel, wanted: Wanted) -> Planned {
    let table = &wanted.table;
    let checkpoint = &opened.checkpoint;
    let config = checkpoint.config();
    let name = table.name.clone().unwrap_or_else(|| opened.name.clone());
    let chunk = usize::from(table.per_model.running.chunk) as u64;
    Planned {
        need: Need {
            name: name.clone(),
            weight_bytes: memory::weight_bytes(checkpoint),
            workspace_bytes: workspace_bytes(config, chunk),
            states_bytes: table.per_model.cache.ram_bytes(),
            bytes_per_token: kv_bytes_per_token(config, rows(&opened)),
        },
        tier: table.tier.map_or_else(
            || match checkpoint.profile().name.size() {
                Some(Size::Pro) => Tier::Pro,
                Some(Size::Flash) | None => Tier::Flash,
            },
            Tier::from,
        ),
        cache_dir: table.per_model.cache.dir().map(PathBuf::from),
        name,
        aliases: Vec::new(),
        states_bytes: 0,
        opened,
        wanted,
    }
}

fn naming(model: &Planned) -> Naming {
    Naming {
        name: model.name.clone(),
        tier: model.tier,
        released: model.opened.checkpoint.profile().name != ProfileName::Own,
        aliases: model.wanted.aliases().map(<[_]>::to_vec),
    }
}

/// Only one engine can write to a directory, so models that would share one get a directory each in it, of their name.
fn part_directories(models: &mut [Planned]) -> Vec<String> {
    let dirs = models.iter().filter_map(|model| model.cache_dir.clone());
    let users = dirs.fold(BTreeMap::new(), |mut users, dir| {
        *users.entry(dir).or_insert(0) += 1;
        users
    });
    let mut taken = BTreeMap::new();
    let mut problems = Vec::new();
    for model in models {
        let Some(dir) = &mut model.cache_dir else { continue };
        if users[dir] > 1 {
            dir.push(model.name.replace(['/', '\\'], "_").trim_start_matches('.'));
        }
        if let Some(other) = taken.insert(dir.clone(), model.name.clone()) {
            problems.push(format!(
                "{other} and {} would both keep their states in {}; give each a cache-dir of its own",
                model.name,
                dir.display()
            ));
        }
    }
    problems
}
