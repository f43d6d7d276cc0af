//! Every path, in one place.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderName, HeaderValue, Method, StatusCode, Uri};
use axum::middleware::{from_fn_with_state, map_response_with_state};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::{Value, json};
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::cors::{AllowHeaders, AllowOrigin, CorsLayer};

use crate::access::check_name;
use crate::app::App;
use crate::error::ApiError;
use crate::observe::{Panics, observe};
use crate::wire::{chat, completions, messages, models, operator, responses, tokenize};
use crate::{admin, openapi, page};

/// All paths over `app`.
pub(crate) fn router(app: &Arc<App>) -> Router {
    let bases = BASES
        .into_iter()
        .fold(Router::new(), |router, path| router.route(path, get(base)));
    bases
        .merge(anthropic(app))
        .route("/chat/completions", post(chat::completions))
        .route("/v1/chat/completions", post(chat::completions))
        .route("/beta/chat/completions", post(chat::completions))
        .route("/completions", post(completions::completions))
        .route("/v1/completions", post(completions::completions))
        .route("/beta/completions", post(completions::completions))
        .route("/responses", post(responses::responses))
        .route("/v1/responses", post(responses::responses))
        .route("/tokenize", post(tokenize::tokenize))
        .route("/v1/tokenize", post(tokenize::tokenize))
        .route("/detokenize", post(tokenize::detokenize))
        .route("/v1/detokenize", post(tokenize::detokenize))
        .route("/models", get(models::models))
        .route("/v1/models", get(models::models))
        .route("/models/{name}", get(models::model))
        .route("/v1/models/{name}", get(models::model))
        .route("/health", get(models::health))
        .route("/metrics", get(operator::metrics))
        .route("/openapi.json", get(openapi::openapi))
        .route("/user/balance", get(operator::balance))
        .merge(page::routes())
        .merge(admin::routes())
        .fallback(no_such_path)
        .method_not_allowed_fallback(wrong_method)
        .layer(DefaultBodyLimit::max(app.body_bytes_max))
        .layer(from_fn_with_state(Arc::clone(app), check_name))
        .layer(CatchPanicLayer::custom(Panics(Arc::clone(&app.metrics))))
        .layer(cors(&app.cors_origins))
        .layer(from_fn_with_state(Arc::clone(app), observe))
        .with_state(Arc::clone(app))
}

/// The Messages API and what its clients look for beside it.
fn anthropic(app: &Arc<App>) -> Router<Arc<App>> {
    let mut router = Router::new()
        .route("/anthropic/v1/models", get(messages::models))
        .route("/anthropic/v1/models/{name}", get(messages::model));
    for root in ["/anthropic/v1", "/anthropic", "/v1"] {
        router = router
            .route(&format!("{root}/messages"), post(messages::messages))
            .route(
                &format!("{root}/messages/count_tokens"),
                post(messages::count_tokens),
            );
    }
    router.layer(map_response_with_state(Arc::clone(app), messages::shape))
}

/// Base URLs that clients are given: some look whether anything is there. `get` also answers HEAD.
const BASES: [&str; 4] = ["/v1", "/beta", "/anthropic", "/anthropic/v1"];

/// What is there.
async fn base() -> Json<Value> {
    Json(json!({"server": "fathom"}))
}

/// Which pages of other origins may send requests: none unless the operator names them. Keys are sent as headers, never as
/// cookies, so a page must know a key to use it.
fn cors(origins: &[String]) -> CorsLayer {
    let cors = CorsLayer::new();
    if origins.is_empty() {
        return cors;
    }
    // A list would be compared with `*` as text.
    let origins = if origins.iter().any(|origin| origin == "*") {
        AllowOrigin::any()
    } else {
        AllowOrigin::list(
            origins
                .iter()
                .filter_map(|origin| HeaderValue::from_str(origin).ok()),
        )
    };
    cors.allow_origin(origins)
        .allow_headers(AllowHeaders::mirror_request())
        .allow_methods([Method::GET, Method::HEAD, Method::POST])
        .expose_headers(["x-request-id", "x-deepseek-request-id", "retry-after"].map(HeaderName::from_static))
        .max_age(Duration::from_hours(1))
}

async fn no_such_path(State(app): State<Arc<App>>, uri: Uri) -> ApiError {
    if app.strict {
        return ApiError::plain(StatusCode::NOT_FOUND, None, "");
    }
    let message = format!(
        "There is no {}; GET /openapi.json describes what this server has.",
        uri.path()
    );
    ApiError::new(StatusCode::NOT_FOUND, "invalid_request_error", message)
}

async fn wrong_method(State(app): State<Arc<App>>, method: Method, uri: Uri) -> ApiError {
    if app.strict {
        return ApiError::plain(StatusCode::METHOD_NOT_ALLOWED, None, "");
    }
    let message = format!(
        "{} does not take {method}; what generates takes POST, what lists takes GET.",
        uri.path()
    );
    ApiError::new(StatusCode::METHOD_NOT_ALLOWED, "invalid_request_error", message)
}
