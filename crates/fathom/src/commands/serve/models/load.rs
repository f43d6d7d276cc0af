//! Loading, all models at once.

use std::thread;
use std::time::Instant;

use anyhow::anyhow;

use super::planned::Planned;
use crate::commands::serve::log;
use crate::model_source::LoadedModel;
use crate::terminal::figures::plural;
use crate::units::bytes;

/// Loads every model, each on a thread, and says so of those that take a while. In their order.
pub(crate) fn load(
    models: Vec<Planned>,
    ignore_memory: bool,
) -> anyhow::Result<Vec<(Described, LoadedModel)>> {
    thread::scope(|scope| {
        let loading: Vec<_> = models
            .into_iter()
            .map(|model| scope.spawn(move || one(model, ignore_memory)))
            .collect();
        loading
            .into_iter()
            .map(|thread| {
                thread
                    .join()
                    .map_err(|_| anyhow!("a thread that loads a model has failed"))?
            })
            .collect()
    })
}

/// What is known of a model besides its engine.
pub(crate) struct Described {
    pub(crate) name: String,
    pub(crate) tier: fathom_serve::Tier,
    pub(crate) price: String,
    pub(crate) aliases: Vec<fathom_serve::Alias>,
}

fn one(model: Planned, ignore_memory: bool) -> anyhow::Result<(Described, LoadedModel)> {
    let options = model.engine(ignore_memory);
    let weights = model.need.weight_bytes;
    let price = model.price().to_owned();
    let Planned {
        opened,
        name,
        tier,
        aliases,
        ..
    } = model;
    if weights > 0 {
        log::line(&format!("loading {name}: {} of weights", bytes(weights)));
    }
    let start = Instant::now();
    let loaded = opened.load(options)?;
    if weights > 0 {
        log::line(&format!(
            "loaded {name} in {:.1} s ({}, {})",
            start.elapsed().as_secs_f64(),
            loaded.engine.numerics(),
            plural(loaded.engine.threads(), "thread")
        ));
    }
    let described = Described {
        name,
        tier,
        price,
        aliases,
    };
    Ok((described, loaded))
}
