//! Every path, in one place.

use std::sync::Arc;

use axum::Router;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{Method, StatusCode, Uri};
use axum::routing::{get, post};

use crate::app::App;
use crate::error::ApiError;
use crate::wire::{chat, completions, models, tokenize};

/// All paths over `app`.
pub(crate) fn router(app: App) -> Router {
    let limit = DefaultBodyLimit::max(app.body_bytes_max);
    Router::new()
        .route("/chat/completions", post(chat::completions))
        .route("/v1/chat/completions", post(chat::completions))
        .route("/beta/chat/completions", post(chat::completions))
        .route("/completions", post(completions::completions))
        .route("/v1/completions", post(completions::completions))
        .route("/beta/completions", post(completions::completions))
        .route("/tokenize", post(tokenize::tokenize))
        .route("/v1/tokenize", post(tokenize::tokenize))
        .route("/detokenize", post(tokenize::detokenize))
        .route("/v1/detokenize", post(tokenize::detokenize))
        .route("/models", get(models::models))
        .route("/v1/models", get(models::models))
        .route("/models/{name}", get(models::model))
        .route("/v1/models/{name}", get(models::model))
        .route("/health", get(models::health))
        .fallback(no_such_path)
        .method_not_allowed_fallback(wrong_method)
        .layer(limit)
        .with_state(Arc::new(app))
}

async fn no_such_path(State(app): State<Arc<App>>, uri: Uri) -> ApiError {
    if app.strict {
        return ApiError::plain(StatusCode::NOT_FOUND, None, "");
    }
    let message = format!(
        "There is no {}; this server has POST /v1/chat/completions, GET /v1/models and GET /health.",
        uri.path()
    );
    ApiError::new(StatusCode::NOT_FOUND, "invalid_request_error", message)
}

async fn wrong_method(State(app): State<Arc<App>>, method: Method, uri: Uri) -> ApiError {
    if app.strict {
        return ApiError::plain(StatusCode::METHOD_NOT_ALLOWED, None, "");
    }
    let message = format!(
        "{} does not take {method}; chat completions take POST, the others GET.",
        uri.path()
    );
    ApiError::new(StatusCode::METHOD_NOT_ALLOWED, "invalid_request_error", message)
}
