//! `GET /admin/api/live`.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use fathom_cache::Miss;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::Operator;
use super::history::Sample;
use crate::app::App;
use crate::catalog::ServedModel;
use crate::error::ApiError;

#[derive(Deserialize)]
pub(crate) struct Since {
    /// Milliseconds since 1970: the last sample that is known already.
    #[serde(default)]
    since: i64,
}

/// The server now, and its samples.
#[derive(Serialize)]
pub(crate) struct Live {
    /// By this machine's clock, in milliseconds since 1970.
    now: i64,
    started: i64,
    version: &'static str,
    models: Vec<Model>,
    samples: Vec<Sample>,
}

#[derive(Serialize)]
struct Model {
    id: String,
    numerics: &'static str,
    threads: usize,
    context: usize,
    cache_ram_budget_bytes: u64,
    /// Absent without a directory.
    cache_disk_budget_bytes: Option<u64>,
    /// Lookups in the cache by how they ended.
    lookups: Map<String, Value>,
    preemptions: u64,
}

pub(crate) async fn live(
    State(app): State<Arc<App>>,
    _: Operator,
    query: Result<Query<Since>, QueryRejection>,
) -> Result<Json<Live>, ApiError> {
    let Query(Since { since }) = query.map_err(|rejection| ApiError::invalid(rejection.body_text()))?;
    Ok(Json(Live {
        now: Timestamp::now().as_millisecond(),
        started: app.history.started().as_millisecond(),
        version: env!("CARGO_PKG_VERSION"),
        models: app.catalog.models().iter().map(|model| describe(model)).collect(),
        samples: app.history.after(since),
    }))
}

fn describe(model: &ServedModel) -> Model {
    let engine = &model.engine;
    let cache = engine.cache().stats();
    let lookups = Miss::NAMES.iter().zip(cache.tree.lookups_by_miss);
    Model {
        id: model.name.clone(),
        numerics: engine.numerics().name(),
        threads: engine.threads(),
        context: engine.context_max(),
        cache_ram_budget_bytes: cache.tree.ram_budget_bytes,
        cache_disk_budget_bytes: cache.disk.map(|disk| disk.budget_bytes),
        lookups: lookups
            .map(|(&name, count)| (name.to_owned(), count.into()))
            .collect(),
        preemptions: engine.stats().preemptions,
    }
}
