//! `POST /anthropic/v1/messages`, also at `/anthropic/messages` and `/v1/messages`: the API of Anthropic's clients.
//!
//! Any `anthropic-version`, `anthropic-beta` and query is taken. `request` says what each field does.

mod count_tokens;
mod deferred;
mod error;
mod models;
mod relax;
mod request;
mod user;

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use deepseek_recipe::anthropic::messages::request::MessagesRequest;
use serde_json::Value;

use super::body::Body;
use super::{Cut, Wire};
use crate::access::Caller;
use crate::answer::Note;
use crate::app::App;
use crate::error::ApiError;

pub(crate) use count_tokens::count_tokens;
pub(crate) use error::shape;
pub(crate) use models::{listed, model, models};

/// Answers one request.
pub(crate) async fn messages(
    State(app): State<Arc<App>>,
    caller: Caller,
    body: Body,
) -> Result<Response, ApiError> {
    super::answer::<MessagesRequest>(app, caller, move |app, caller| request::read(&body, app, caller)).await
}

impl Wire for MessagesRequest {
    const NAME: &'static str = "messages";

    /// `usage` of a whole reply also says why no more of the prompt came from the cache.
    fn complete(reply: &mut Value, note: &Note) {
        if let (Some(reason), Some(Value::Object(usage))) = (&note.miss, reply.get_mut("usage")) {
            usage.insert("prompt_cache_miss_reason".to_owned(), reason.as_str().into());
        }
    }

    fn failed(_: Cut, error: &ApiError) -> (Option<&'static str>, Value) {
        (Some("error"), error::with_type(error.body()))
    }
}
