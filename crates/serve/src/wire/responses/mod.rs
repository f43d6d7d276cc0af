//! `POST /responses`, also under `/v1`: the API of Codex. Nothing is stored: `previous_response_id` has no effect.

mod asked;
mod custom;
mod relax;
mod request;

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use deepseek_recipe::openai::responses::request::ResponsesRequest;
use deepseek_recipe::openai::responses::response::ResponsesResponse;
use deepseek_recipe::response::ProtocolResponse as _;
use serde_json::{Value, json};

use super::body::Body;
use super::{Cut, Wire};
use crate::access::Caller;
use crate::answer::Note;
use crate::app::App;
use crate::error::ApiError;

/// Answers one request.
pub(crate) async fn responses(
    State(app): State<Arc<App>>,
    caller: Caller,
    body: Body,
) -> Result<Response, ApiError> {
    super::answer::<ResponsesRequest>(app, caller, move |app, caller| request::read(&body, app, caller)).await
}

impl Wire for ResponsesRequest {
    const NAME: &'static str = "responses";

    /// `usage` also says why no more of the prompt came from the cache.
    fn complete(reply: &mut Value, note: &Note) {
        let place = if reply.get("response").is_some() {
            "/response/usage"
        } else {
            "/usage"
        };
        if let (Some(reason), Some(Value::Object(usage))) = (&note.miss, reply.pointer_mut(place)) {
            usage.insert("prompt_cache_miss_reason".to_owned(), reason.as_str().into());
        }
    }

    /// `response.failed`, which the vendor's forms lack.
    fn failed(cut: Cut, error: &ApiError) -> (Option<&'static str>, Value) {
        let response = ResponsesResponse::new(cut.id, cut.model, cut.created, 0, 0);
        // Replies are plain data.
        let mut response = serde_json::to_value(response).unwrap_or_default();
        response["status"] = json!("failed");
        response["error"] = json!({"code": "server_error", "message": error.message()});
        let name = "response.failed";
        let event = json!({"type": name, "response": response, "sequence_number": cut.chunks});
        (Some(name), event)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_that_fails_says_so_with_the_next_number() {
        let cut = Cut {
            id: "x".to_owned(),
            model: "m".to_owned(),
            created: 1,
            chunks: 7,
        };
        let (name, event) = ResponsesRequest::failed(cut, &ApiError::internal("out of paper"));
        assert_eq!(name, Some("response.failed"));
        assert_eq!(
            (
                &event["sequence_number"],
                &event["response"]["status"],
                &event["response"]["id"]
            ),
            (&json!(7), &json!("failed"), &json!("x"))
        );
        assert_eq!(event["response"]["error"]["message"], "out of paper");
    }
}
