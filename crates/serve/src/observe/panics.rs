//! A bug in a handler ends its request, not the connection, and says so in the log.

use std::any::Any;
use std::sync::Arc;

use axum::http;
use axum::response::{IntoResponse as _, Response};
use tower_http::catch_panic::ResponseForPanic;

use super::Metrics;
use crate::error::ApiError;

/// Replies to requests whose handler panicked.
#[derive(Clone)]
pub(crate) struct Panics(pub(crate) Arc<Metrics>);

impl ResponseForPanic for Panics {
    type ResponseBody = axum::body::Body;

    fn response_for_panic(&mut self, panic: Box<dyn Any + Send>) -> http::Response<Self::ResponseBody> {
        let reply: Response = note(&self.0, &*panic).into_response();
        reply
    }
}

/// Notes a bug; what the client is told of it says nothing of the request.
pub(crate) fn note(metrics: &Metrics, panic: &(dyn Any + Send)) -> ApiError {
    metrics.panicked();
    let panic = text(panic);
    tracing::error!(target: "fathom::request", panic, "this is a bug in Fathom");
    ApiError::internal("The request met a bug in Fathom; its log has more")
}

/// What a panic said.
fn text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()))
        .unwrap_or_else(|| "no message".to_owned())
}

#[cfg(test)]
mod tests {
    use axum::body::to_bytes;

    use super::*;
    use crate::presence::Presence;

    #[tokio::test]
    async fn a_bug_is_an_error_that_is_counted_and_says_nothing_of_the_request() {
        let metrics = Arc::new(Metrics::new(&[], &Presence::default()));
        let reply = Panics(Arc::clone(&metrics)).response_for_panic(Box::new("in the middle of a secret"));
        assert_eq!(reply.status(), 500);
        let body = to_bytes(reply.into_body(), 1000).await.unwrap();
        let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(
            body["error"]["message"],
            "The request met a bug in Fathom; its log has more"
        );
        assert!(metrics.text().contains("fathom_panics_total 1\n"));
    }
}
