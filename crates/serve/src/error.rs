//! Errors as clients see them: `{"error": {"message", "type", "param", "code"}}`, and some that are plain text.

use std::time::Duration;

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use deepseek_recipe::request::ConversionError;
use fathom_engine::SessionError;
use fathom_engine::generation::GenerateError;
use serde_json::{Value, json};

/// In a reply's extensions: what went wrong, for the log.
#[derive(Debug, Clone)]
pub(crate) struct ErrorText(pub(crate) String);

/// An error reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ApiError {
    status: StatusCode,
    kind: &'static str,
    message: String,
    form: Form,
    /// When to try again.
    retry_after: Option<Duration>,
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

    /// Not now.
    pub(crate) fn unavailable(message: impl Into<String>) -> Self {
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "service_unavailable_error",
            message,
        )
    }

    pub(crate) fn new(status: StatusCode, kind: &'static str, message: impl Into<String>) -> Self {
        Self {
            status,
            kind,
            message: message.into(),
            form: Form::Json,
            retry_after: None,
        }
    }

    /// Others are before this one.
    pub(crate) fn too_many(message: impl Into<String>) -> Self {
        Self::new(StatusCode::TOO_MANY_REQUESTS, "rate_limit_error", message)
    }

    /// Trying again is of no use before `wait` is over.
    #[must_use]
    pub(crate) fn retry_after(self, wait: Duration) -> Self {
        Self {
            retry_after: Some(wait),
            ..self
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

    /// The reply's status.
    pub(crate) fn status(&self) -> StatusCode {
        self.status
    }

    /// What it says.
    pub(crate) fn message(&self) -> &str {
        &self.message
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
        let text = ErrorText(self.message.clone());
        let mut response = match self.form {
            Form::Json => (self.status, Json(self.body())).into_response(),
            Form::Plain(_) => (self.status, self.message).into_response(),
        };
        match self.form {
            Form::Json => {}
            Form::Plain(Some(content_type)) => {
                let value = HeaderValue::from_static(content_type);
                response.headers_mut().insert(header::CONTENT_TYPE, value);
            }
            Form::Plain(None) => {
                response.headers_mut().remove(header::CONTENT_TYPE);
            }
        }
        if let Some(wait) = self.retry_after {
            // Whole seconds, and not too early.
            let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
            response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
        }
        response.extensions_mut().insert(text);
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
            GenerateError::Session(SessionError::Busy(_)) => Self::too_many(message),
            _ => Self::internal(message),
        }
    }
}
