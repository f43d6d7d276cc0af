//! `GET /models` and `GET /health`.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde_json::{Value, json};

use crate::app::App;

/// The models on offer, under their own names.
pub(crate) async fn models(State(app): State<Arc<App>>) -> Json<Value> {
    let models = app.catalog.models().iter();
    let models = models.map(|model| json!({"id": model.name, "object": "model", "owned_by": "fathom"}));
    Json(json!({"object": "list", "data": models.collect::<Vec<_>>()}))
}

/// Whether the server is up, and what it runs.
pub(crate) async fn health(State(app): State<Arc<App>>) -> Json<Value> {
    let models = app.catalog.models().iter().map(|model| {
        json!({
            "id": model.name,
            "numerics": model.engine.numerics().name(),
            "context": model.engine.context_max(),
        })
    });
    Json(json!({"status": "ok", "models": models.collect::<Vec<_>>()}))
}
