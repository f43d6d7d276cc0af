//! Request bodies.

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::JsonRejection;
use axum::extract::{FromRef, FromRequest, Request};
use axum::http::{HeaderMap, StatusCode, header};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::app::App;
use crate::error::ApiError;

/// The body of a request that must be JSON, not yet parsed.
pub(crate) struct Body(Bytes);

impl Body {
    /// The body that says `value`.
    pub(crate) fn of(value: &Value) -> Self {
        Self(value.to_string().into())
    }

    /// A body as it is.
    #[cfg(test)]
    pub(crate) fn from_static(body: &'static str) -> Self {
        Self(Bytes::from_static(body.as_bytes()))
    }

    /// Parses it. Can be done several times, for forms that know different fields.
    pub(crate) fn parse<T: DeserializeOwned>(&self) -> Result<T, ApiError> {
        // The extractor's own parser, for its messages name the field and place.
        let Json(value) = Json::<T>::from_bytes(&self.0).map_err(|rejection| match rejection {
            JsonRejection::JsonSyntaxError(_) => ApiError::plain(
                StatusCode::BAD_REQUEST,
                Some("application/octet-stream"),
                rejection.body_text(),
            ),
            _ => ApiError::invalid(rejection.body_text()),
        })?;
        Ok(value)
    }
}

impl<S: Sync + Send> FromRequest<S> for Body
where
    Arc<App>: FromRef<S>,
{
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        expect_json(request.headers())?;
        let app = Arc::<App>::from_ref(state);
        let read = tokio::time::timeout(app.body_timeout, Bytes::from_request(request, state));
        let read = read.await.map_err(|_| {
            let message = format!(
                "The request body was not complete within {} s. Send it faster, or a shorter one.",
                app.body_timeout.as_secs()
            );
            ApiError::new(StatusCode::REQUEST_TIMEOUT, "invalid_request_error", message)
        })?;
        let bytes = read.map_err(|rejection| {
            let status = rejection.status();
            let message = if status == StatusCode::PAYLOAD_TOO_LARGE {
                let most = app.body_bytes_max;
                format!(
                    "The request body is larger than the {most} bytes this server accepts. Send a shorter request."
                )
            } else {
                rejection.body_text()
            };
            ApiError::new(status, "invalid_request_error", message)
        })?;
        Ok(Self(bytes))
    }
}

fn expect_json(headers: &HeaderMap) -> Result<(), ApiError> {
    let content_type = headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    let media_type = content_type.split(';').next().unwrap_or_default().trim();
    if media_type.eq_ignore_ascii_case("application/json") {
        return Ok(());
    }
    Err(ApiError::plain(
        StatusCode::UNSUPPORTED_MEDIA_TYPE,
        Some("text/plain; charset=utf-8"),
        "Expected request with `Content-Type: application/json`",
    ))
}
