//! Errors as clients see them: `{"error": {"message", "type", "param", "code"}}`, and some that are plain text.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use deepseek_recipe::request::ConversionError;
use fathom_engine::SessionError;
use fathom_engine::generation::GenerateError;
use serde_json::{Value, json};

/// An error reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ApiError {
    status: StatusCode,
    kind: &'static str,
    message: String,
    form: Form,
}

/// How an error is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// The envelope.
    Json,
    /// The message is the whole body, of this content type or of none.
    Plain(Option<&'static str>),
}

impl ApiError {
    /// The request cannot be answered as it is.
    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid_request_error", message)
    }

    /// Something is wrong on this side.
    pub(crate) fn internal(message: impl Into<String>) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal_error", message)
    }

    pub(crate) fn new(status: StatusCode, kind: &'static str, message: impl Into<String>) -> Self {
        Self {
            status,
            kind,
            message: message.into(),
            form: Form::Json,
        }
    }

    /// An error that the hosted API tells without JSON.
    pub(crate) fn plain(
        status: StatusCode,
        content_type: Option<&'static str>,
        body: impl Into<String>,
    ) -> Self {
        Self {
            form: Form::Plain(content_type),
            ..Self::new(status, "invalid_request_error", body)
        }
    }

    /// The reply's body as JSON.
    pub(crate) fn body(&self) -> Value {
        // The hosted API has one code for whatever a client may have done.
        let code = if self.status.is_server_error() {
            self.kind
        } else {
            "invalid_request_error"
        };
        json!({"error": {"message": self.message, "type": self.kind, "param": null, "code": code}})
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let Form::Plain(content_type) = self.form else {
            return (self.status, Json(self.body())).into_response();
        };
        let mut response = (self.status, self.message).into_response();
        match content_type {
            Some(content_type) => {
                let value = HeaderValue::from_static(content_type);
                response.headers_mut().insert(header::CONTENT_TYPE, value);
            }
            None => {
                response.headers_mut().remove(header::CONTENT_TYPE);
            }
        }
        response
    }
}

impl From<ConversionError> for ApiError {
    fn from(error: ConversionError) -> Self {
        match error {
            ConversionError::BadRequest { detail } => Self::invalid(detail),
            ConversionError::Internal { detail } => Self::internal(detail),
        }
    }
}

impl From<GenerateError> for ApiError {
    fn from(error: GenerateError) -> Self {
        let message = error.to_string();
        match error {
            GenerateError::EmptyPrompt
            | GenerateError::PromptTooLong { .. }
            | GenerateError::Session(SessionError::Memory(_)) => Self::invalid(message),
            GenerateError::Session(SessionError::Busy(_)) => {
                Self::new(StatusCode::TOO_MANY_REQUESTS, "rate_limit_error", message)
            }
            _ => Self::internal(message),
        }
    }
}
