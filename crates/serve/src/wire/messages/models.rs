//! `GET /anthropic/v1/models` and `/anthropic/v1/models/{name}`.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use serde_json::{Value, json};

use crate::access::Caller;
use crate::app::App;
use crate::catalog::ServedModel;
use crate::error::ApiError;

/// The models on offer, under their own names.
pub(crate) async fn models(State(app): State<Arc<App>>, _: Caller) -> Json<Value> {
    Json(listed(&app))
}

/// The list in Anthropic's shape.
pub(crate) fn listed(app: &App) -> Value {
    let models = app.catalog.models().iter();
    let models: Vec<Value> = models.map(|model| described(model)).collect();
    let id = |model: Option<&Value>| model.map(|model| model["id"].clone());
    json!({
        "first_id": id(models.first()),
        "last_id": id(models.last()),
        "has_more": false,
        "data": models,
    })
}

/// One of them, by any of its names.
pub(crate) async fn model(
    State(app): State<Arc<App>>,
    _: Caller,
    Path(name): Path<String>,
) -> Result<Json<Value>, ApiError> {
    let named = super::request::named(&app, &name).map_err(|_| {
        let message = format!("There is no model {name}.");
        ApiError::new(StatusCode::NOT_FOUND, "not_found_error", message)
    })?;
    Ok(Json(described(&named.model)))
}

fn described(model: &ServedModel) -> Value {
    json!({
        "type": "model",
        "id": model.name,
        "display_name": model.name,
        // Checkpoints do not say when they were made; clients expect a date.
        "created_at": "1970-01-01T00:00:00Z",
        "max_input_tokens": model.engine.context_max(),
    })
}
