//! `POST /chat/completions`, with and without `/v1` or `/beta`.

mod asked;
mod request;
mod schema;

pub(crate) use schema::ChatRequest;
mod strict;

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use deepseek_recipe::openai::ChatCompletionRequest;
use serde_json::Value;

use super::body::Body;
use super::{Draft, Wire};
use crate::access::Caller;
use crate::answer::Note;
use crate::app::App;
use crate::error::ApiError;

/// Answers one request.
pub(crate) async fn completions(
    State(app): State<Arc<App>>,
    caller: Caller,
    body: Body,
) -> Result<Response, ApiError> {
    super::answer::<ChatCompletionRequest>(app, caller, move |app, caller| request::read(&body, app, caller))
        .await
}

/// What a body asks for.
pub(crate) fn draft(body: &Body, app: &App) -> Result<Draft, ApiError> {
    request::draft(body.parse()?, app)
}

impl Wire for ChatCompletionRequest {
    const NAME: &'static str = "chat";

    /// `usage` also says why no more of the prompt came from the cache, and `warnings` what was wrong with the model's output.
    fn complete(reply: &mut Value, note: &Note) {
        if !note.defects.is_empty() {
            reply["warnings"] = note.defects.clone().into();
        }
        if let (Some(reason), Some(Value::Object(usage))) = (&note.miss, reply.get_mut("usage")) {
            usage.insert("prompt_cache_miss_reason".to_owned(), reason.as_str().into());
        }
    }
}
