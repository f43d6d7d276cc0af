//! `GET /v1/models` and `GET /health`.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde_json::{Value, json};

use crate::app::App;

/// The models on offer: one, under its own name.
pub(crate) async fn models(State(app): State<Arc<App>>) -> Json<Value> {
    let model = json!({"id": app.options.model, "object": "model", "owned_by": "fathom"});
    Json(json!({"object": "list", "data": [model]}))
}

/// Whether the server is up, and what it runs.
pub(crate) async fn health(State(app): State<Arc<App>>) -> Json<Value> {
    Json(json!({
        "status": "ok",
        "model": app.options.model,
        "numerics": app.engine.numerics().name(),
        "context": app.engine.context_max(),
    }))
}
