//! `POST /chat/completions`, with and without `/v1` or `/beta`.

mod request;

use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use deepseek_recipe::openai::ChatCompletionRequest;
use serde_json::Value;

use super::Wire;
use super::body::Body;
use crate::answer::Note;
use crate::app::App;
use crate::caller::Caller;
use crate::error::ApiError;

/// Answers one request.
pub(crate) async fn completions(
    State(app): State<Arc<App>>,
    caller: Caller,
    body: Body,
) -> Result<Response, ApiError> {
    super::answer::<ChatCompletionRequest>(app, caller, move |app| request::read(&body, app)).await
}

impl Wire for ChatCompletionRequest {
    const NAME: &'static str = "chat";

    fn response_id() -> String {
        format!("chatcmpl-{:016x}{:016x}", random(), random())
    }

    /// `usage` also says why no more of the prompt came from the cache.
    fn complete(reply: &mut Value, note: &Note) {
        if let (Some(reason), Some(Value::Object(usage))) = (&note.miss, reply.get_mut("usage")) {
            usage.insert("prompt_cache_miss_reason".to_owned(), reason.as_str().into());
        }
    }
}

/// A random number, from the standard library's only source.
fn random() -> u64 {
    RandomState::new().hash_one(0)
}
