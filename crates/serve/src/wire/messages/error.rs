//! Errors as this wire shows them.
//!
//! The hosted API answers in the OpenAI shape here too. Anthropic's own has `"type": "error"` beside the same `error` object, so
//! a body with both reads well in clients of either kind; `--strict` leaves the addition out.

use std::sync::Arc;

use axum::Json;
use axum::body::to_bytes;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse as _, Response};
use serde_json::Value;

use crate::app::App;

/// Error bodies are ours and small; what is larger passes as it is.
const BODY_BYTES_MAX: usize = 64 << 10;

/// Completes the bodies of error replies.
pub(crate) async fn shape(State(app): State<Arc<App>>, response: Response) -> Response {
    let is_json = response
        .headers()
        .get(header::CONTENT_TYPE)
        .is_some_and(|kind| kind.as_bytes().starts_with(b"application/json"));
    if app.strict || !is_json || !(response.status().is_client_error() || response.status().is_server_error())
    {
        return response;
    }
    let (mut head, body) = response.into_parts();
    // An error's body is in memory already.
    let bytes = to_bytes(body, BODY_BYTES_MAX).await.unwrap_or_default();
    match serde_json::from_slice(&bytes) {
        Ok(body) => {
            head.headers.remove(header::CONTENT_LENGTH);
            let shaped = Json(with_type(body)).into_response();
            Response::from_parts(head, shaped.into_body())
        }
        Err(_) => Response::from_parts(head, bytes.into()),
    }
}

/// An error's body with what Anthropic's clients look for.
pub(super) fn with_type(mut body: Value) -> Value {
    if let Value::Object(fields) = &mut body {
        fields.shift_insert(0, "type".to_owned(), "error".into());
    }
    body
}
