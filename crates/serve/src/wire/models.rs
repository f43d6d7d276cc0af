//! `GET /models`, `GET /models/{name}` and `GET /health`.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use serde_json::{Value, json};

use crate::access::Caller;
use crate::app::App;
use crate::catalog::ServedModel;
use crate::error::ApiError;
use crate::wire::messages;

/// The models on offer, under their own names; in Anthropic's shape for its clients.
pub(crate) async fn models(State(app): State<Arc<App>>, headers: HeaderMap, _: Caller) -> Json<Value> {
    if !app.strict && headers.contains_key("anthropic-version") {
        return Json(messages::listed(&app));
    }
    let models = app.catalog.models().iter();
    let models: Vec<_> = models.map(|model| shown(model, app.strict)).collect();
    Json(json!({"object": "list", "data": models}))
}

/// One of them, by any of its names.
pub(crate) async fn model(
    State(app): State<Arc<App>>,
    _: Caller,
    Path(name): Path<String>,
) -> Result<Json<Value>, ApiError> {
    let named = app.catalog.find(&name).map_err(|_| {
        let names: Vec<_> = app
            .catalog
            .models()
            .iter()
            .map(|model| model.name.as_str())
            .collect();
        let message = format!("There is no model {name}. This server has {}.", names.join(", "));
        ApiError::new(StatusCode::NOT_FOUND, "invalid_request_error", message)
    })?;
    Ok(Json(shown(&named.model, app.strict)))
}

/// As the hosted API shows a model; unless in `strict`, with what clients and the chat page want to know beyond that.
fn shown(model: &ServedModel, strict: bool) -> Value {
    if strict {
        return json!({"id": model.name, "object": "model", "owned_by": "deepseek"});
    }
    let engine = &model.engine;
    let aliases: Vec<_> = model.aliases.iter().map(|alias| &alias.name).collect();
    json!({
        "id": model.name,
        "object": "model",
        // OpenAI's clients expect a time. The models here are files of their operator, and theirs means nothing to clients.
        "created": 0,
        "owned_by": "fathom",
        "aliases": aliases,
        "tier": model.tier.name(),
        "context_length": engine.timeline_max().min(engine.context_max()),
        "thinking": engine.renderer().modes(),
    })
}

/// Whether the server takes requests, and what it runs. For load balancers: 503 once it is about to end.
pub(crate) async fn health(State(app): State<Arc<App>>) -> (StatusCode, Json<Value>) {
    let models = app.catalog.models().iter().map(|model| {
        json!({
            "id": model.name,
            "numerics": model.engine.numerics().name(),
            "context": model.engine.context_max(),
        })
    });
    let (code, status) = if app.presence.is_draining() {
        (StatusCode::SERVICE_UNAVAILABLE, "draining")
    } else {
        (StatusCode::OK, "ok")
    };
    (
        code,
        Json(json!({"status": status, "models": models.collect::<Vec<_>>()})),
    )
}
